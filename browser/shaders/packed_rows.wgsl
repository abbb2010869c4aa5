// Products of packed rows with few vectors. A workgroup computes a block: a thread has one row and one of SLICES parts
// of its words, and LANES lanes of vectors. `columns` says at which column each part begins.
struct Sizes {
  cols: u32,
  rows: u32, // of the whole matrix: of a vector of outputs
  first_row: u32, // that is stored in this piece of the matrix
  end_row: u32,
  blocks: u32, // of this piece
  vectors: u32,
  lanes: u32, // a column of x
  ordered: u32, // whether `order` is there
  activation: u32, // and its slope: see activate.wgsl
  slope: u32,
}
@group(0) @binding(0) var<storage, read> x: array<RealLane>; // [column][lane]
@group(0) @binding(1) var<storage, read> words: array<u32>;
@group(0) @binding(2) var<storage, read> starts: array<u32>;
@group(0) @binding(3) var<storage, read> columns: array<u32>; // [block][slice][row]
@group(0) @binding(4) var<storage, read> order: array<u32>;
@group(0) @binding(5) var<storage, read> codebook: array<f32>;
@group(0) @binding(6) var<storage, read> bias: array<f32>;
@group(0) @binding(7) var<storage, read_write> y: array<Real>; // [vector][row]
@group(0) @binding(8) var<uniform> sizes: Sizes;

var<workgroup> sums: array<Lane, BLOCK_ROWS * SLICES>;

@compute @workgroup_size(BLOCK_ROWS, SLICES)
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_id) local: vec3u,
) {
  let slice = local.y;
  let thread = slice * BLOCK_ROWS + local.x;
  load_codebook(thread, BLOCK_ROWS * SLICES);
  workgroupBarrier();
  let number = flat(group, groups);
  let block = number % sizes.blocks;
  let first_lane = (number / sizes.blocks) * LANES;
  var total: array<Lane, LANES>;
  // threads beyond the grid's last block read block 0 and write nothing
  let start = starts[block];
  let row_words = (starts[block + 1u] - start) / BLOCK_ROWS;
  let slice_words = (row_words + SLICES - 1u) / SLICES;
  let end = min((slice + 1u) * slice_words, row_words);
  var column = columns[(block * SLICES + slice) * BLOCK_ROWS + local.x];
  for (var k = slice * slice_words; k < end; k++) {
    var entry = words[start + k * BLOCK_ROWS + local.x];
    for (var i = 0u; i < PER_WORD; i++) {
      column += length_of(entry);
      let weight = weight_of(entry);
      let at = min(column, sizes.cols - 1u) * sizes.lanes + first_lane;
      for (var l = 0u; l < LANES; l++) { total[l] += weight * Lane(x[at + l]); }
      entry >>= ENTRY_BITS;
    }
  }
  let stored = sizes.first_row + block * BLOCK_ROWS + local.x;
  let row = select(stored, order[min(stored, arrayLength(&order) - 1u)], sizes.ordered != 0u);
  let writes = slice == 0u && stored < sizes.end_row;
  for (var l = 0u; l < LANES; l++) {
    sums[thread] = total[l];
    workgroupBarrier();
    if (writes) {
      var sum = sums[local.x];
      for (var s = 1u; s < SLICES; s++) { sum += sums[s * BLOCK_ROWS + local.x]; }
      for (var i = 0u; i < LANE; i++) {
        let vector = (first_lane + l) * LANE + i;
        if (vector < sizes.vectors) { y[vector * sizes.rows + row] = Real(activate(part(sum, i) + bias[row])); }
      }
    }
    workgroupBarrier();
  }
}
