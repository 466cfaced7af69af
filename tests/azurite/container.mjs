// The official client of Azure's Blob Storage over one container: makes it, lists it, puts blobs.
//
// Usage: node container.mjs URL ACCOUNT KEY CONTAINER make | list | put NAME TEXT

import { BlobServiceClient, StorageSharedKeyCredential } from '@azure/storage-blob';

const [url, account, key, name, action, ...words] = process.argv.slice(2);
const service = new BlobServiceClient(url, new StorageSharedKeyCredential(account, key));
const container = service.getContainerClient(name);

if (action === 'make') {
  await container.createIfNotExists();
} else if (action === 'list') {
  for await (const blob of container.listBlobsFlat()) {
    console.log(blob.name);
  }
} else if (action === 'put') {
  const [blob, text] = words;
  await container.getBlockBlobClient(blob).upload(text, Buffer.byteLength(text));
} else {
  throw new Error(`unknown action ${action}`);
}
