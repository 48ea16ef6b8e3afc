// A second verifier of Makewhole's proof of solvency, written from docs/SOLVENCY.md alone.
// Curve points by @noble/curves, range proofs by the wasm build of libsecp256k1-zkp. In a browser replace the three
// functions under "platform" (crypto.subtle has SHA-256 and Ed25519).
import { createHash, createPublicKey, verify as verifySignature } from "node:crypto";
import { secp256k1 } from "@noble/curves/secp256k1.js";
import zkp from "@vulpemventures/secp256k1-zkp";

// ---- platform
const sha256 = (...parts) => {
  const h = createHash("sha256");
  for (const part of parts) h.update(part);
  return new Uint8Array(h.digest());
};
const ed25519Holds = (key, message, signature) => {
  try {
    const jwk = { kty: "OKP", crv: "Ed25519", x: Buffer.from(key).toString("base64url") };
    return verifySignature(null, message, createPublicKey({ key: jwk, format: "jwk" }), signature);
  } catch {
    return false;
  }
};
const library = await (zkp.default ?? zkp)();

// ---- constants
const ascii = (text) => new TextEncoder().encode(text);
const hex = (bytes) => Buffer.from(bytes).toString("hex");
const unhex = (text) => new Uint8Array(Buffer.from(text, "hex"));
const PointOf = secp256k1.Point;
const Fp = PointOf.Fp;
const ORDER = PointOf.Fn.ORDER;
const H_WIRE = unhex("0b50929b74c1a04954b78b4b6035e97a5e078a5a0f28ec96d547bfee9ace803ac0");
const MAX_U64 = 2n ** 64n - 1n;
const PPM = 1_000_000n;
const Q = 10n ** 17n;
const PROOF = 5126;
const CLAIMS = 255;
const ACCOUNT = 254;
const ROLE = { ROOT: 0, SIBLING: 1, CREDIT: 2, BORROW: 3, CLAIM: 4, DEBT: 5, MARGIN: 6, REMAINDER: 7 };
const ZERO32 = new Uint8Array(32);
const WEAK = new Set([
  "00".repeat(32),
  "01" + "00".repeat(31),
  "ec" + "ff".repeat(30) + "7f",
  "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
  "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
]);

export class Rejected extends Error {
  constructor(reason, detail = "") {
    super(`${reason}: ${detail}`);
    this.reason = reason;
  }
}
const reject = (reason, detail) => {
  throw new Rejected(reason, detail);
};
const same = (a, b) => a.length === b.length && Buffer.compare(a, b) === 0;

// ---- points
const integer = (bytes) => BigInt("0x" + (hex(bytes) || "0"));
const bytes32 = (value) => unhex(value.toString(16).padStart(64, "0"));
const IDENTITY = PointOf.ZERO;

function loadPoint(wire) {
  const x = integer(wire.subarray(1));
  if ((wire[0] !== 8 && wire[0] !== 9) || x >= Fp.ORDER) reject("non_canonical_point");
  let y;
  try {
    y = Fp.sqrt(Fp.create(x * x * x + 7n)); // p = 3 mod 4: this root is the one that is itself a square
  } catch {
    reject("non_canonical_point");
  }
  return PointOf.fromAffine({ x, y: wire[0] === 9 ? Fp.neg(y) : y });
}

function savePoint(point) {
  const { x, y } = point.toAffine();
  const square = Fp.pow(y, (Fp.ORDER - 1n) / 2n) === 1n;
  const wire = new Uint8Array(33);
  wire[0] = square ? 8 : 9;
  wire.set(bytes32(x), 1);
  return wire;
}

const H = loadPoint(Uint8Array.from([H_WIRE[0] ^ 2, ...H_WIRE.subarray(1)]));
if (hex(sha256(PointOf.BASE.toBytes(false))) !== hex(H_WIRE.subarray(1))) throw new Error("H is not the hash of G");
const times = (point, factor) => (factor === 0n ? IDENTITY : point.multiplyUnsafe(factor));
const sum = (points) => points.reduce((a, b) => a.add(b), IDENTITY);
const commit = (value, blinding) => times(H, value).add(times(PointOf.BASE, blinding));

const known = new Map(); // answers of range proofs already checked: a pure function of its key
function proofHolds(wire, proof, binding) {
  const key = hex(sha256(wire, proof, binding));
  if (!known.has(key)) {
    let good = false;
    try {
      const info = library.rangeproof.info(proof);
      good =
        info.exp === "0" && info.minValue === "0" && info.maxValue === MAX_U64.toString() &&
        library.rangeproof.verify(proof, wire, H_WIRE, binding);
    } catch {
      good = false;
    }
    known.set(key, good);
  }
  return known.get(key);
}

// ---- hashes
const hash = (name, ...parts) => sha256(ascii("makewhole/solvency/1/" + name + "\0"), ...parts);
const binding = (context, role, tree, subject) => hash("proof", context, Uint8Array.of(role, tree), subject);
const tagOf = (context, tree, salt, id) =>
  hash("id", context, Uint8Array.of(tree), salt, Uint8Array.of(id.length), id);

// ---- reading
class Reader {
  constructor(data, position = 0) {
    this.data = data;
    this.position = position;
  }
  take(size) {
    if (this.position + size > this.data.length) reject("truncated", `at ${this.position}`);
    const piece = this.data.subarray(this.position, this.position + size);
    this.position += size;
    return piece;
  }
  number(size, low = 0n, high = MAX_U64) {
    const value = integer(this.take(size));
    if (value < BigInt(low) || value > BigInt(high)) reject("out_of_range", `before ${this.position}`);
    return size === 8 ? value : Number(value);
  }
  text(high) {
    const raw = this.take(this.number(1, 1, high));
    const text = Buffer.from(raw).toString("latin1");
    if (!/^[A-Za-z0-9_]+$/.test(text)) reject("out_of_range", "characters");
    return text;
  }
  point(identity = false) {
    const wire = this.take(33);
    if (!(identity && wire.every((b) => b === 0))) loadPoint(wire);
    return wire;
  }
  scalar() {
    const value = integer(this.take(32));
    if (value >= ORDER) reject("out_of_range", "scalar");
    return value;
  }
  end() {
    if (this.position !== this.data.length) reject("trailing_bytes");
  }
}
const list = (count, read) => Array.from({ length: count }, read);
const ascending = (keys) => {
  for (let i = 1; i < keys.length; i++) {
    const [a, b] = [keys[i - 1], keys[i]];
    const less = typeof a === "number" ? a < b : Buffer.compare(Buffer.from(a), Buffer.from(b)) < 0;
    if (!less) reject("wrong_order");
  }
};

// ---- header
function readTree(r) {
  return {
    depth: r.number(1, 0, 32), plain: r.point(), plainHash: r.take(32), debtors: r.point(true),
    total: r.number(8), blinding: r.scalar(),
  };
}

export function readHeader(data) {
  const r = new Reader(data);
  const h = {};
  if (!same(r.take(8), ascii("MWSOLV1\n"))) reject("wrong_magic");
  h.operator = r.take(32);
  h.epoch = r.number(8, 1n);
  h.previous = r.take(32);
  if (h.previous.every((b) => b === 0) !== (h.epoch === 1n)) reject("out_of_range", "previous");
  h.sequence = r.number(8);
  h.time = r.number(8);
  h.slot = r.number(8);
  h.assets = list(r.number(1, 1, 64), () => ({
    symbol: r.text(16), identity: r.take(32), decimals: r.number(1, 0, 9),
    price: r.number(8, 1n, 10n ** 17n), weight: BigInt(r.number(4, 0, 1_000_000)),
  }));
  if (new Set(h.assets.map((a) => a.symbol)).size !== h.assets.length) reject("wrong_order", "assets");
  const first = h.assets[0];
  if (first.decimals !== 6 || first.price !== 10n ** 8n || first.weight !== PPM) reject("out_of_range", "asset 0");
  for (const asset of h.assets) {
    const f = 10n ** BigInt(9 - asset.decimals);
    asset.held = asset.price * asset.weight * f;
    asset.owed = asset.price * PPM * f;
  }
  h.open = list(r.number(1, 1, 32), () => {
    const account = { name: r.text(32), credits: [], borrows: [] };
    for (let i = 0; i < h.assets.length; i++) {
      account.credits.push(r.number(8));
      account.borrows.push(r.number(8));
    }
    account.claim = r.number(8);
    account.debt = r.number(8);
    return account;
  });
  ascending(h.open.map((account) => account.name));
  if (!h.open.some((account) => account.name === "insurance_fund")) reject("out_of_range", "fund");
  h.context = hash("context", data.subarray(0, r.position));
  h.lines = h.assets.map(() => ({
    credits: readTree(r), borrows: r.number(8), borrowsBlinding: r.scalar(), holdings: r.number(8), rate: r.number(8),
  }));
  h.claims = readTree(r);
  h.debts = r.number(8);
  h.debtsBlinding = r.scalar();
  h.shortfall = r.number(8);
  h.shortfallBlinding = r.scalar();
  h.totalRate = r.number(8);
  h.debtorCount = r.number(4);
  h.listedCount = r.number(4, 0, h.debtorCount);
  h.debtorsRoot = r.take(32);
  h.heldCount = r.number(4);
  h.bodyHash = r.take(32);
  r.end();
  h.hash = hash("bundle", data);
  h.net = h.lines.map((line, i) => {
    const net = line.credits.total - line.borrows;
    return i === 0 ? net + h.claims.total - h.debts + h.shortfall : net;
  });
  return h;
}

export function splitBundle(data) {
  const r = new Reader(data);
  const header = r.take(r.number(4));
  return { header, signature: r.take(64), body: data.subarray(r.position) };
}

// ---- head
function checkKey(key) {
  const cleared = Uint8Array.from(key);
  cleared[31] &= 0x7f;
  const y = integer(Uint8Array.from(cleared).reverse());
  if (y >= 2n ** 255n - 19n || WEAK.has(hex(cleared))) reject("weak_key", hex(key));
}
const operatorMessage = (h) => ascii(`makewhole solvency bundle 1\n${hex(h.hash)}\n`);
const pointOrIdentity = (wire) => (wire.every((b) => b === 0) ? IDENTITY : loadPoint(wire));
const opens = (points, total, inClear, blinding) =>
  total >= inClear && sum(points).equals(commit(total - inClear, blinding));
const rate = (holdings, net) => {
  if (net <= 0n) return MAX_U64;
  const value = (holdings * PPM) / net;
  return value < MAX_U64 ? value : MAX_U64 - 1n;
};
const total = (items, of) => items.reduce((value, item) => value + of(item), 0n);

function checkAnchors(h, anchors) {
  if (anchors.operator && hex(h.operator) !== anchors.operator) reject("wrong_operator");
  if (anchors.published && hex(h.hash) !== anchors.published) reject("not_the_published_hash");
  if (anchors.previous) {
    const p = readHeader(splitBundle(anchors.previous).header);
    const good =
      same(h.operator, p.operator) && h.epoch === p.epoch + 1n && same(h.previous, p.hash) &&
      h.sequence >= p.sequence && h.slot >= p.slot && h.time > p.time;
    if (!good) reject("broken_chain");
  }
  for (const asset of h.assets) {
    const [low, high] = (anchors.prices ?? {})[asset.symbol] ?? ["1", "100000000000000000"];
    if (asset.price < BigInt(low) || asset.price > BigInt(high)) reject("price_out_of_bounds");
    if (asset.weight > BigInt((anchors.weights ?? {})[asset.symbol] ?? 1_000_000)) reject("weight_out_of_bounds");
  }
}

export function checkHead(data, anchors = {}) {
  const { header, signature } = splitBundle(data);
  const h = readHeader(header);
  checkKey(h.operator);
  if (!ed25519Holds(h.operator, operatorMessage(h), signature)) reject("operator_signature_invalid");
  checkAnchors(h, anchors);
  const treeOpens = (tree, inClear) =>
    opens([pointOrIdentity(tree.plain), pointOrIdentity(tree.debtors)], tree.total, inClear, tree.blinding);
  h.lines.forEach((line, i) => {
    if (!treeOpens(line.credits, total(h.open, (a) => a.credits[i]))) reject("credits_total_wrong");
  });
  if (!treeOpens(h.claims, total(h.open, (a) => a.claim))) reject("claims_total_wrong");
  h.lines.forEach((line, i) => {
    if (line.rate !== rate(line.holdings, h.net[i])) reject("rate_wrong", h.assets[i].symbol);
  });
  const holdings = h.lines.reduce((v, line, i) => v + line.holdings * h.assets[i].owed, 0n);
  const net = h.net.reduce((v, units, i) => v + units * h.assets[i].owed, 0n);
  if (h.totalRate !== rate(holdings, net)) reject("rate_wrong", "total");
  return h;
}

// ---- body
function readDebtor(r, assets) {
  const start = r.position;
  const d = { tag: r.take(32), listed: r.number(1, 0, 1) === 1, amounts: [] };
  for (const role of [ROLE.CREDIT, ROLE.BORROW]) {
    const amounts = list(r.number(1, 0, assets), () => ({
      role, tree: r.number(1, 0, assets - 1), wire: r.point(), proof: r.take(PROOF),
    }));
    ascending(amounts.map((amount) => amount.tree));
    d.amounts.push(...amounts);
  }
  for (const role of [ROLE.CLAIM, ROLE.DEBT]) {
    d.amounts.push(...list(r.number(1, 0, 1), () => ({ role, tree: CLAIMS, wire: r.point(), proof: r.take(PROOF) })));
  }
  d.margin = { role: ROLE.MARGIN, tree: ACCOUNT, wire: r.point(), proof: r.take(PROOF) };
  d.remainderProof = r.take(PROOF);
  d.raw = r.data.subarray(start, r.position);
  return d;
}

function readBody(data, h) {
  const r = new Reader(data);
  const n = h.assets.length;
  const body = { proofs: list(n + 1, () => r.take(PROOF)), debtors: [], held: [] };
  for (let i = 0; i < h.debtorCount; i++) body.debtors.push(readDebtor(r, n));
  ascending(body.debtors.map((d) => d.tag));
  for (let i = 0; i < h.heldCount; i++) {
    const held = { tree: r.number(1, 0, n - 1), account: r.take(32), owner: r.take(32), units: r.number(8) };
    held.envelope = r.number(1, 0, 1) ? r.take(r.number(2)) : null;
    held.signature = r.take(64);
    body.held.push(held);
  }
  ascending(body.held.map((held) => held.account));
  r.end();
  return body;
}

function remainder(h, d) {
  const terms = d.amounts.map(({ role, tree, wire }) => {
    const point = loadPoint(wire);
    if (role === ROLE.CREDIT) return times(point, h.assets[tree].held);
    if (role === ROLE.BORROW) return times(point, h.assets[tree].owed).negate();
    return role === ROLE.CLAIM ? times(point, Q) : times(point, Q).negate();
  });
  const margin = times(loadPoint(d.margin.wire), Q);
  return sum([...terms, d.listed ? margin : margin.negate()]);
}

const task = (wire, proof, bound, reason) => () => {
  if (proof[0] !== 0x40 || proof[1] !== 0x3f) reject("range_proof_parameters");
  if (!proofHolds(wire, proof, bound)) reject(reason);
};

function debtorTasks(h, d) {
  const tasks = [...d.amounts, d.margin].map(({ role, tree, wire, proof }) =>
    task(wire, proof, binding(h.context, role, tree, d.tag), "debtor_amount_not_in_range"));
  const rest = remainder(h, d);
  if (rest.equals(IDENTITY)) reject("equity_not_proved");
  const bound = binding(h.context, ROLE.REMAINDER, ACCOUNT, d.tag);
  return [...tasks, task(savePoint(rest), d.remainderProof, bound, "equity_not_proved")];
}

function debtorsRoot(leaves) {
  let level = leaves.length ? [...leaves] : [ZERO32];
  while (level.length & (level.length - 1)) level.push(ZERO32);
  while (level.length > 1) {
    level = list(level.length / 2, (_, i) => hash("debtor-node", level[2 * i], level[2 * i + 1]));
  }
  return level[0];
}

function openShortfall(h, account) {
  let equity = (account.claim - account.debt) * Q;
  h.assets.forEach((asset, i) => {
    equity += account.credits[i] * asset.held - account.borrows[i] * asset.owed;
  });
  return equity >= 0n ? 0n : (-equity + Q - 1n) / Q;
}

function checkTotals(h, body) {
  const points = (role, tree) =>
    body.debtors.flatMap((d) => d.amounts.filter((a) => a.role === role && a.tree === tree)).map((a) => loadPoint(a.wire));
  const listed = body.debtors.filter((d) => d.listed);
  if (listed.length !== h.listedCount) reject("listed_count_wrong");
  h.lines.forEach((line, i) => {
    if (!sum(points(ROLE.CREDIT, i)).equals(pointOrIdentity(line.credits.debtors))) reject("debtor_credits_sum_differs");
    const inClear = total(h.open, (a) => a.borrows[i]);
    if (!opens(points(ROLE.BORROW, i), line.borrows, inClear, line.borrowsBlinding)) reject("borrows_total_wrong");
  });
  if (!sum(points(ROLE.CLAIM, CLAIMS)).equals(pointOrIdentity(h.claims.debtors))) reject("debtor_credits_sum_differs");
  if (!opens(points(ROLE.DEBT, CLAIMS), h.debts, total(h.open, (a) => a.debt), h.debtsBlinding)) reject("debts_total_wrong");
  const margins = listed.map((d) => loadPoint(d.margin.wire));
  const inClear = total(h.open, (a) => openShortfall(h, a));
  if (!opens(margins, h.shortfall, inClear, h.shortfallBlinding)) reject("shortfall_total_wrong");
}

function checkHeld(h, body, chain) {
  const totals = h.lines.map(() => 0n);
  for (const held of body.held) {
    totals[held.tree] += held.units;
    checkKey(held.owner);
    let message = ascii(
      `makewhole solvency reserve 1\n${hex(h.context)}\n${hex(held.account)}\n${hex(held.owner)}\n`);
    if (held.envelope) {
      if (!Buffer.from(held.envelope).includes(message)) reject("challenge_not_in_envelope");
      message = held.envelope;
    }
    if (!ed25519Holds(held.owner, message, held.signature)) reject("reserve_signature_invalid");
    if (chain && BigInt(chain[hex(held.account)] ?? -1) !== held.units) reject("holding_differs_from_chain");
  }
  h.lines.forEach((line, i) => {
    if (totals[i] !== line.holdings) reject("holdings_total_wrong");
  });
}

export function checkBundle(data, anchors = {}) {
  const h = checkHead(data, anchors);
  const raw = splitBundle(data).body;
  if (!same(hash("body", raw), h.bodyHash)) reject("body_hash_differs");
  const body = readBody(raw, h);
  if (!same(debtorsRoot(body.debtors.map((d) => hash("debtor", h.context, d.raw))), h.debtorsRoot)) {
    reject("debtors_root_differs");
  }
  checkTotals(h, body);
  checkHeld(h, body, anchors.chain);
  const trees = [...h.lines.map((line, i) => [i, line.credits]), [CLAIMS, h.claims]];
  const tasks = trees.map(([number, tree], i) =>
    task(tree.plain, body.proofs[i], binding(h.context, ROLE.ROOT, number, hash("root", Uint8Array.of(tree.depth), tree.plainHash)), "root_not_in_range"));
  for (const d of body.debtors) tasks.push(...debtorTasks(h, d));
  for (const check of tasks) check();
  return h;
}

// ---- records
function checkPath(h, number, r, id, balances) {
  const tree = number === CLAIMS ? h.claims : h.lines[number]?.credits;
  if (!tree) reject("out_of_range", "tree");
  const salt = r.take(32);
  const amount = r.number(8);
  const blinding = r.scalar();
  const index = r.number(4, 0, 2 ** tree.depth - 1);
  let point = commit(amount, blinding);
  if (point.equals(IDENTITY)) reject("opening_wrong");
  let wire = savePoint(point);
  let value = hash("leaf", h.context, Uint8Array.of(number), tagOf(h.context, number, salt, id), wire);
  const tasks = [];
  for (let level = 0; level < tree.depth; level++) {
    const [other, otherHash, proof] = [r.point(), r.take(32), r.take(PROOF)];
    tasks.push(task(other, proof, binding(h.context, ROLE.SIBLING, number, otherHash), "sibling_not_in_range"));
    const right = Math.floor(index / 2 ** level) % 2 === 1;
    value = right ? hash("node", other, wire, otherHash, value) : hash("node", wire, other, value, otherHash);
    point = point.add(loadPoint(other));
    if (point.equals(IDENTITY)) reject("path_does_not_reach_the_root");
    wire = savePoint(point);
  }
  if (!tree.debtors.every((b) => b === 0)) {
    const bound = binding(h.context, ROLE.SIBLING, number, h.debtorsRoot);
    tasks.push(task(tree.debtors, r.take(PROOF), bound, "sibling_not_in_range"));
  }
  if (!same(wire, tree.plain) || !same(value, tree.plainHash)) reject("path_does_not_reach_the_root");
  for (const check of tasks) check();
  if (amount) balances[number === CLAIMS ? "claims" : h.assets[number].symbol] = amount.toString();
}

function checkOwnDebtor(h, r, id, balances) {
  if (h.debtorCount === 0) reject("out_of_range");
  const salt = r.take(32);
  const index = r.number(4, 0, h.debtorCount - 1);
  const d = readDebtor(r, h.assets.length);
  if (!same(d.tag, tagOf(h.context, ACCOUNT, salt, id))) reject("opening_wrong");
  for (const { role, tree, wire } of d.amounts) {
    const value = r.number(8);
    if (!commit(value, r.scalar()).equals(loadPoint(wire))) reject("opening_wrong");
    const name = role === ROLE.DEBT ? "debt" : role === ROLE.CLAIM ? "claims" : h.assets[tree].symbol;
    if (value) balances[role === ROLE.BORROW ? "borrow:" + name : name] = value.toString();
  }
  let value = hash("debtor", h.context, d.raw);
  for (let level = 0; 2 ** level < h.debtorCount; level++) {
    const other = r.take(32);
    const right = Math.floor(index / 2 ** level) % 2 === 1;
    value = right ? hash("debtor-node", other, value) : hash("debtor-node", value, other);
  }
  if (!same(value, h.debtorsRoot)) reject("path_does_not_reach_the_root");
  for (const check of debtorTasks(h, d)) check();
}

export function checkRecord(h, data, customerId = null, expected = null) {
  const r = new Reader(data);
  if (!same(r.take(8), ascii("MWRCRD1\n"))) reject("wrong_magic");
  if (!same(r.take(32), h.hash)) reject("record_of_another_bundle");
  const id = r.take(r.number(1, 1, 128));
  if (customerId !== null && !same(id, ascii(customerId))) reject("record_of_another_customer");
  try {
    new TextDecoder("utf-8", { fatal: true }).decode(id);
  } catch {
    reject("out_of_range", "id");
  }
  const balances = {};
  if (r.number(1, 0, 1) === 1) {
    checkOwnDebtor(h, r, id, balances);
  } else {
    const numbers = [];
    const count = r.number(1, 1, 65);
    for (let i = 0; i < count; i++) {
      numbers.push(r.number(1));
      ascending(numbers);
      checkPath(h, numbers[i], r, id, balances);
    }
  }
  r.end();
  if (expected !== null) {
    const shown = (o) => JSON.stringify(Object.entries(o).map(([k, v]) => [k, String(v)]).sort());
    if (shown(expected) !== shown(balances)) reject("balance_differs");
  }
  return balances;
}

export function isEquivocation(first, second) {
  const [one, two] = [first, second].map((data) => {
    const { header, signature } = splitBundle(data);
    const h = readHeader(header);
    checkKey(h.operator);
    if (!ed25519Holds(h.operator, operatorMessage(h), signature)) reject("operator_signature_invalid");
    return h;
  });
  return (
    same(one.operator, two.operator) && !same(one.hash, two.hash) &&
    (one.epoch === two.epoch || same(one.previous, two.previous))
  );
}
