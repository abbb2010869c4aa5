// Packed words (see packed.ts): PER_WORD entries of code << SKIP_BITS | skip, the first in the lowest bits.
// An entry whose skip has all bits set is a filler: so many zeros, and no survivor.
const BLOCK_ROWS = 32u;
const SKIP_MASK = (1u << SKIP_BITS) - 1u;
const CODE_MASK = (1u << CODE_BITS) - 1u;
const ENTRY_BITS = SKIP_BITS + CODE_BITS;
// the column before the first one: adding 1 makes it 0
const BEFORE = 0xffffffffu;

var<workgroup> weights: array<f32, 1u << CODE_BITS>;

// All threads call it; a barrier follows before anyone reads `weights`.
fn load_codebook(thread: u32, threads: u32) {
  for (var i = thread; i < min(arrayLength(&codebook), 1u << CODE_BITS); i += threads) { weights[i] = codebook[i]; }
}

// How far an entry moves the column.
fn length_of(entry: u32) -> u32 {
  return min((entry & SKIP_MASK) + 1u, SKIP_MASK);
}

// The entry's weight: 0 for a filler.
fn weight_of(entry: u32) -> f32 {
  return select(weights[(entry >> SKIP_BITS) & CODE_MASK], 0.0, (entry & SKIP_MASK) == SKIP_MASK);
}
