// @solana/kit, unchanged, against a localnet: node kit.mjs RPC_URL WS_URL
// Prints one JSON object of what it saw; the Python test compares it with the ledger. Any failure is a non-zero exit.
import {
  airdropFactory,
  appendTransactionMessageInstructions,
  createSolanaRpc,
  createSolanaRpcSubscriptions,
  createTransactionMessage,
  generateKeyPairSigner,
  getBase64EncodedWireTransaction,
  getSignatureFromTransaction,
  isSolanaError,
  lamports,
  pipe,
  sendAndConfirmTransactionFactory,
  setTransactionMessageFeePayerSigner,
  setTransactionMessageLifetimeUsingBlockhash,
  signTransactionMessageWithSigners,
} from "@solana/kit";
import { getCreateAccountInstruction, getTransferSolInstruction } from "@solana-program/system";
import {
  TOKEN_PROGRAM_ADDRESS,
  fetchMint,
  fetchToken,
  findAssociatedTokenPda,
  getCreateAssociatedTokenIdempotentInstructionAsync,
  getInitializeMint2Instruction,
  getMintSize,
  getMintToCheckedInstruction,
  getTransferCheckedInstruction,
} from "@solana-program/token";

const [rpcUrl, wsUrl] = process.argv.slice(2);
const rpc = createSolanaRpc(rpcUrl);
const rpcSubscriptions = createSolanaRpcSubscriptions(wsUrl);
const airdrop = airdropFactory({ rpc, rpcSubscriptions });
const sendAndConfirm = sendAndConfirmTransactionFactory({ rpc, rpcSubscriptions });
const seen = {};

async function send(payer, instructions, commitment = "confirmed") {
  const { value: blockhash } = await rpc.getLatestBlockhash().send();
  const message = pipe(
    createTransactionMessage({ version: 0 }),
    (m) => setTransactionMessageFeePayerSigner(payer, m),
    (m) => setTransactionMessageLifetimeUsingBlockhash(blockhash, m),
    (m) => appendTransactionMessageInstructions(instructions, m),
  );
  const transaction = await signTransactionMessageWithSigners(message);
  await sendAndConfirm(transaction, { commitment });
  return getSignatureFromTransaction(transaction);
}

// Notifications are collected from the start and compared at the end.
const abort = new AbortController();
const alice = await generateKeyPairSigner();
const bob = await generateKeyPairSigner();
const slots = [];
const logs = [];
const bobBalances = [];
async function collect(subscription, into, pick) {
  const notifications = await subscription.subscribe({ abortSignal: abort.signal });
  (async () => {
    for await (const notification of notifications) into.push(pick(notification));
  })().catch((error) => {
    if (!abort.signal.aborted) throw error;
  });
}
await collect(rpcSubscriptions.slotNotifications(), slots, (n) => Number(n.slot));
await collect(rpcSubscriptions.logsNotifications({ mentions: [alice.address] }, { commitment: "confirmed" }), logs, (n) => ({
  signature: n.value.signature,
  err: n.value.err,
  logs: n.value.logs,
}));
await collect(
  rpcSubscriptions.accountNotifications(bob.address, { commitment: "confirmed", encoding: "base64" }),
  bobBalances,
  (n) => String(n.value.lamports),
);

// Airdrop: signature subscription.
seen.airdrop = await airdrop({ commitment: "confirmed", lamports: lamports(10_000_000_000n), recipientAddress: alice.address });
seen.aliceAfterAirdrop = String((await rpc.getBalance(alice.address, { commitment: "confirmed" }).send()).value);

// Transfer: signature subscription raced against block height.
seen.transfer = await send(alice, [
  getTransferSolInstruction({ source: alice, destination: bob.address, amount: lamports(1_234_567_890n) }),
]);
seen.bob = String((await rpc.getBalance(bob.address, { commitment: "confirmed" }).send()).value);

// A transaction that preflight refuses: kit turns the validator's error into its own class.
try {
  await send(bob, [getTransferSolInstruction({ source: bob, destination: alice.address, amount: lamports(99_000_000_000n) })]);
  seen.refused = null;
} catch (error) {
  seen.refused = { isSolanaError: isSolanaError(error), code: error.context?.__code ?? null, cause: error.cause?.name ?? null };
}

// Tokens: mint, associated accounts, mint to, transfer, reads by typed decoders.
const mint = await generateKeyPairSigner();
const space = BigInt(getMintSize());
const rent = await rpc.getMinimumBalanceForRentExemption(space).send();
await send(alice, [
  getCreateAccountInstruction({ payer: alice, newAccount: mint, lamports: rent, space, programAddress: TOKEN_PROGRAM_ADDRESS }),
  getInitializeMint2Instruction({ mint: mint.address, decimals: 6, mintAuthority: alice.address }),
]);
const [aliceToken] = await findAssociatedTokenPda({ owner: alice.address, mint: mint.address, tokenProgram: TOKEN_PROGRAM_ADDRESS });
const [bobToken] = await findAssociatedTokenPda({ owner: bob.address, mint: mint.address, tokenProgram: TOKEN_PROGRAM_ADDRESS });
await send(alice, [
  await getCreateAssociatedTokenIdempotentInstructionAsync({ payer: alice, owner: alice.address, mint: mint.address }),
  await getCreateAssociatedTokenIdempotentInstructionAsync({ payer: alice, owner: bob.address, mint: mint.address }),
  getMintToCheckedInstruction({ mint: mint.address, token: aliceToken, mintAuthority: alice, amount: 5_000_000n, decimals: 6 }),
]);
seen.tokenTransfer = await send(
  alice,
  [
    getTransferCheckedInstruction({
      source: aliceToken, mint: mint.address, destination: bobToken, authority: alice, amount: 1_500_001n, decimals: 6,
    }),
  ],
  "finalized",
);
seen.mint = mint.address;
seen.supply = String((await fetchMint(rpc, mint.address)).data.supply);
seen.aliceToken = String((await fetchToken(rpc, aliceToken)).data.amount);
seen.bobTokenUnits = (await rpc.getTokenAccountBalance(bobToken).send()).value.amount;
const owned = await rpc.getTokenAccountsByOwner(bob.address, { mint: mint.address }, { encoding: "jsonParsed" }).send();
seen.bobOwned = owned.value.map((entry) => entry.account.data.parsed.info.tokenAmount.amount);
const parsed = await rpc.getAccountInfo(bobToken, { encoding: "jsonParsed" }).send();
seen.bobParsedOwner = parsed.value.data.parsed.info.owner;

// The transaction and the block as the chain has them.
const transaction = await rpc
  .getTransaction(seen.tokenTransfer, { encoding: "jsonParsed", maxSupportedTransactionVersion: 0, commitment: "finalized" })
  .send();
seen.postTokenBalances = transaction.meta.postTokenBalances.map((entry) => entry.uiTokenAmount.amount).sort();
seen.slot = Number(transaction.slot);
const block = await rpc
  .getBlock(transaction.slot, { transactionDetails: "signatures", rewards: false, maxSupportedTransactionVersion: 0 })
  .send();
seen.inBlock = block.signatures.includes(seen.tokenTransfer);
const history = await rpc.getSignaturesForAddress(alice.address, { commitment: "finalized" }).send();
seen.history = history.map((entry) => entry.signature);

// A blockhash that does not exist is refused with the validator's message.
const stale = pipe(
  createTransactionMessage({ version: 0 }),
  (m) => setTransactionMessageFeePayerSigner(alice, m),
  (m) => setTransactionMessageLifetimeUsingBlockhash({ blockhash: bob.address, lastValidBlockHeight: 0n }, m),
);
try {
  await rpc.sendTransaction(getBase64EncodedWireTransaction(await signTransactionMessageWithSigners(stale)), { encoding: "base64" }).send();
  seen.stale = null;
} catch (error) {
  seen.stale = { isSolanaError: isSolanaError(error), cause: error.cause?.message ?? error.message };
}

abort.abort();
seen.slotsRise = slots.length > 0 && slots.every((slot, i) => i === 0 || slot > slots[i - 1]);
seen.logs = logs;
seen.bobBalances = bobBalances;
console.log(JSON.stringify(seen));
process.exit(0);
