// Words that stop, as the server's table has them. It knows more ways to write them (slips, held letters); these here
// need no server to be taken for the STOP button, which tries until it is confirmed.

import { page } from "./link.js";

const { short, ...tables } = page.stops;
const KNOWN = Object.fromEntries(Object.entries(tables).map(([name, words]) => [name, new Set(words)]));
const PHRASES = tables.phrases.map((phrase) => phrase.split(" "));

// Words in lower case, without accents, unseen marks and punctuation.
function folded(text) {
  const plain = text.normalize("NFKC").toLowerCase().normalize("NFKD").replace(/['\u2019\u02bc`\u00b4]|[\p{Mn}\p{Cf}]/gu, "");
  return plain.replace(/[^\p{L}\p{N}\p{Mc}]+/gu, " ").normalize("NFC").split(" ").filter(Boolean);
}

// Whether text means STOP: it begins so, or it is short and says so anywhere.
export function isStop(text) {
  const said = folded(text), told = said.filter((word) => !KNOWN.harmless.has(word));
  const hits = told.filter((word) => KNOWN.anywhere.has(word)).length;
  if (hits && (KNOWN.anywhere.has(told[0]) || told.length - hits <= short)) return true;
  if (told.length && (KNOWN.first.has(told[0]) || told.every((word) => KNOWN.alone.has(word)))) return true;
  return PHRASES.some((phrase) => {
    const at = said.findIndex((_, k) => phrase.every((word, n) => said[k + n] === word));
    return at >= 0 && said.slice(0, at).every((word) => KNOWN.harmless.has(word));
  });
}
