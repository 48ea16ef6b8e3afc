// @solana/web3.js 1.x, unchanged, against a localnet: node web3js.mjs RPC_URL
// It finds the subscription port by itself (RPC port + 1). Prints one JSON object of what it saw.
import {
  AddressLookupTableProgram,
  Connection,
  Keypair,
  LAMPORTS_PER_SOL,
  PublicKey,
  SystemProgram,
  Transaction,
  TransactionMessage,
  VersionedTransaction,
  sendAndConfirmTransaction,
} from "@solana/web3.js";

const [rpcUrl] = process.argv.slice(2);
const connection = new Connection(rpcUrl, "confirmed");
const seen = {};
const alice = Keypair.generate();
const bob = Keypair.generate();

const slots = [];
const logged = [];
const balances = [];
connection.onSlotChange((info) => slots.push(info.slot));
connection.onLogs(alice.publicKey, (logs) => logged.push(logs.signature), "confirmed");
connection.onAccountChange(bob.publicKey, (account) => balances.push(account.lamports), { commitment: "confirmed" });

const airdrop = await connection.requestAirdrop(alice.publicKey, 5 * LAMPORTS_PER_SOL);
const latest = await connection.getLatestBlockhash();
await connection.confirmTransaction({ signature: airdrop, ...latest });
seen.alice = await connection.getBalance(alice.publicKey);

// Legacy message, sendAndConfirm.
seen.transfer = await sendAndConfirmTransaction(
  connection,
  new Transaction().add(
    SystemProgram.transfer({ fromPubkey: alice.publicKey, toPubkey: bob.publicKey, lamports: 1_000_000_007 }),
  ),
  [alice],
);
seen.bob = await connection.getBalance(bob.publicKey);

// Version 0 with a lookup table made on this chain.
const slot = await connection.getSlot("finalized");
const [createTable, table] = AddressLookupTableProgram.createLookupTable({
  authority: alice.publicKey, payer: alice.publicKey, recentSlot: slot,
});
const extend = AddressLookupTableProgram.extendLookupTable({
  lookupTable: table, authority: alice.publicKey, payer: alice.publicKey, addresses: [bob.publicKey],
});
await sendAndConfirmTransaction(connection, new Transaction().add(createTable, extend), [alice]);
let lookup = null;
const extendedAt = await connection.getSlot("processed");
while ((await connection.getSlot("processed")) <= extendedAt + 1) await new Promise((done) => setTimeout(done, 20));
lookup = (await connection.getAddressLookupTable(table)).value;
seen.tableAddresses = lookup.state.addresses.map((address) => address.toBase58());
const message = new TransactionMessage({
  payerKey: alice.publicKey,
  recentBlockhash: (await connection.getLatestBlockhash()).blockhash,
  instructions: [SystemProgram.transfer({ fromPubkey: alice.publicKey, toPubkey: bob.publicKey, lamports: 11 })],
}).compileToV0Message([lookup]);
const versioned = new VersionedTransaction(message);
versioned.sign([alice]);
seen.simulatedUnits = (await connection.simulateTransaction(versioned)).value.unitsConsumed;
seen.versioned = await connection.sendTransaction(versioned);
await connection.confirmTransaction({ signature: seen.versioned, ...(await connection.getLatestBlockhash()) }, "finalized");
const fetched = await connection.getTransaction(seen.versioned, { maxSupportedTransactionVersion: 0, commitment: "finalized" });
seen.version = fetched.version;
seen.loaded = fetched.meta.loadedAddresses.writable.map((key) => new PublicKey(key).toBase58());
seen.bobAddress = bob.publicKey.toBase58();
seen.bobAfter = await connection.getBalance(bob.publicKey, "finalized");
const parsed = await connection.getParsedTransaction(seen.transfer, { maxSupportedTransactionVersion: 0, commitment: "confirmed" });
seen.parsedLamports = parsed.transaction.message.instructions[0].parsed.info.lamports;
seen.signatures = (await connection.getSignaturesForAddress(bob.publicKey, {}, "finalized")).map((entry) => entry.signature);
seen.history = (await connection.getBlock(fetched.slot, { maxSupportedTransactionVersion: 0 })).transactions.length;

// An unfunded sender is refused with the program's own words.
try {
  await sendAndConfirmTransaction(
    connection,
    new Transaction().add(
      SystemProgram.transfer({ fromPubkey: bob.publicKey, toPubkey: alice.publicKey, lamports: 900 * LAMPORTS_PER_SOL }),
    ),
    [bob],
  );
  seen.refused = null;
} catch (error) {
  seen.refused = { name: error.name, logs: error.logs ?? [], message: String(error.message) };
}
seen.slotsRise = slots.length > 0 && slots.every((s, i) => i === 0 || s > slots[i - 1]);
seen.logged = logged;
seen.balances = balances;
console.log(JSON.stringify(seen));
process.exit(0);
