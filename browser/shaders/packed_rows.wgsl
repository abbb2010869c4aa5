// Products of packed rows with few vectors. A workgroup computes a block: a thread has one row and one of PARTS parts
// of its words, and BUNDLES bundles of vectors. `columns` says at which column each part begins.
struct Sizes {
  cols: u32,
  rows: u32, // of the whole matrix: of a vector of outputs
  first_row: u32, // that is stored in this piece of the matrix
  end_row: u32,
  blocks: u32, // of this piece
  vectors: u32,
  bundles: u32, // a column of x
  ordered: u32, // whether `order` is there
  activation: u32, // and its slope: see activate.wgsl
  slope: u32,
}
@group(0) @binding(0) var<storage, read> x: array<RealBundle>; // [column][bundle]
@group(0) @binding(1) var<storage, read> words: array<u32>;
@group(0) @binding(2) var<storage, read> starts: array<u32>;
@group(0) @binding(3) var<storage, read> columns: array<u32>; // [block][part][row]
@group(0) @binding(4) var<storage, read> order: array<u32>;
@group(0) @binding(5) var<storage, read> codebook: array<f32>;
@group(0) @binding(6) var<storage, read> bias: array<f32>;
@group(0) @binding(7) var<storage, read_write> y: array<Real>; // [vector][row]
@group(0) @binding(8) var<uniform> sizes: Sizes;

var<workgroup> sums: array<Bundle, BLOCK_ROWS * PARTS>;

@compute @workgroup_size(BLOCK_ROWS, PARTS)
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_id) local: vec3u,
) {
  let part = local.y;
  let thread = part * BLOCK_ROWS + local.x;
  load_codebook(thread, BLOCK_ROWS * PARTS);
  workgroupBarrier();
  let number = flat(group, groups);
  let block = number % sizes.blocks;
  let first_bundle = (number / sizes.blocks) * BUNDLES;
  var total: array<Bundle, BUNDLES>;
  // threads beyond the grid's last block read block 0 and write nothing
  let start = starts[block];
  let row_words = (starts[block + 1u] - start) / BLOCK_ROWS;
  let part_words = (row_words + PARTS - 1u) / PARTS;
  let end = min((part + 1u) * part_words, row_words);
  var column = columns[(block * PARTS + part) * BLOCK_ROWS + local.x];
  for (var k = part * part_words; k < end; k++) {
    var entry = words[start + k * BLOCK_ROWS + local.x];
    for (var i = 0u; i < PER_WORD; i++) {
      column += length_of(entry);
      let weight = weight_of(entry);
      let at = min(column, sizes.cols - 1u) * sizes.bundles + first_bundle;
      for (var b = 0u; b < BUNDLES; b++) { total[b] += weight * Bundle(x[at + b]); }
      entry >>= ENTRY_BITS;
    }
  }
  let stored = sizes.first_row + block * BLOCK_ROWS + local.x;
  let row = select(stored, order[min(stored, arrayLength(&order) - 1u)], sizes.ordered != 0u);
  let writes = part == 0u && stored < sizes.end_row;
  for (var b = 0u; b < BUNDLES; b++) {
    sums[thread] = total[b];
    workgroupBarrier();
    if (writes) {
      var sum = sums[local.x];
      for (var s = 1u; s < PARTS; s++) { sum += sums[s * BLOCK_ROWS + local.x]; }
      for (var i = 0u; i < BUNDLE; i++) {
        let vector = (first_bundle + b) * BUNDLE + i;
        if (vector < sizes.vectors) { y[vector * sizes.rows + row] = Real(activate(vector_of(sum, i) + bias[row])); }
      }
    }
    workgroupBarrier();
  }
}
