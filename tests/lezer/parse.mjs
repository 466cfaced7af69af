// Tells of each of some TraceQL texts whether Grafana's grammar, which its editor uses, takes it.
//
// Usage: node parse.mjs, with a JSON array of texts on the standard input. Prints an array of truth values.

import { readFileSync } from 'node:fs';
import { parser } from '@grafana/lezer-traceql';

function isTaken(text) {
  let isTaken = true;
  parser.parse(text).iterate({
    enter: (node) => {
      isTaken &&= !node.type.isError;
    },
  });
  return isTaken;
}

const texts = JSON.parse(readFileSync(0, 'utf8'));
console.log(JSON.stringify(texts.map(isTaken)));
