// @solana/kit sends a transfer to an endpoint that takes it and loses it: node expiry.mjs RPC_URL WS_URL PAYER_SECRET_KEY_HEX
// kit must give up when the block height passes the blockhash's last valid one, and prints how it did.
import {
  appendTransactionMessageInstructions, createKeyPairSignerFromBytes, createSolanaRpc, createSolanaRpcSubscriptions,
  createTransactionMessage, isSolanaError, lamports, pipe, sendAndConfirmTransactionFactory,
  setTransactionMessageFeePayerSigner, setTransactionMessageLifetimeUsingBlockhash, signTransactionMessageWithSigners,
  SOLANA_ERROR__BLOCK_HEIGHT_EXCEEDED,
} from "@solana/kit";
import { getTransferSolInstruction } from "@solana-program/system";

const [rpcUrl, wsUrl, secret] = process.argv.slice(2);
const rpc = createSolanaRpc(rpcUrl);
const rpcSubscriptions = createSolanaRpcSubscriptions(wsUrl);
const payer = await createKeyPairSignerFromBytes(Uint8Array.from(Buffer.from(secret, "hex")));
const { value: latest } = await rpc.getLatestBlockhash().send();
const transaction = await signTransactionMessageWithSigners(
  pipe(
    createTransactionMessage({ version: 0 }),
    (m) => setTransactionMessageFeePayerSigner(payer, m),
    (m) => setTransactionMessageLifetimeUsingBlockhash(latest, m),
    (m) => appendTransactionMessageInstructions(
      [getTransferSolInstruction({ source: payer, destination: payer.address, amount: lamports(1n) })], m,
    ),
  ),
);
const seen = { expired: false };
try {
  await sendAndConfirmTransactionFactory({ rpc, rpcSubscriptions })(transaction, { commitment: "confirmed" });
} catch (error) {
  seen.expired = isSolanaError(error, SOLANA_ERROR__BLOCK_HEIGHT_EXCEEDED);
  seen.blocksBeyond = Number(error.context?.currentBlockHeight ?? 0) - Number(latest.lastValidBlockHeight);
  seen.message = error.message;
}
console.log(JSON.stringify(seen));
process.exit(0);
