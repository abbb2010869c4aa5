// Convolutions from packed rows, and products with many vectors. A workgroup computes one row for WORKGROUP * PIXELS
// pixels. Its threads decode WORKGROUP words of the row together, then each one walks through their survivors.
@group(0) @binding(0) var<storage, read> x: array<Real>;
@group(0) @binding(1) var<storage, read> words: array<u32>;
@group(0) @binding(2) var<storage, read> starts: array<u32>;
@group(0) @binding(3) var<storage, read> offsets: array<u32>; // of a column's element from the window's first
@group(0) @binding(4) var<storage, read> order: array<u32>;
@group(0) @binding(5) var<storage, read> codebook: array<f32>;
@group(0) @binding(6) var<storage, read> bias: array<f32>;
@group(0) @binding(7) var<storage, read_write> y: array<Real>;
@group(0) @binding(8) var<uniform> sizes: Sizes;

var<workgroup> places: array<u32, WORKGROUP * PER_WORD>;
var<workgroup> factors: array<f32, WORKGROUP * PER_WORD>; // 0 for fillers
var<workgroup> last: u32; // column of the last word

@compute @workgroup_size(WORKGROUP)
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) thread: u32,
) {
  load_codebook(thread, WORKGROUP);
  workgroupBarrier();
  let number = flat(group, groups);
  let tile = number % sizes.tiles;
  let local_row = number / sizes.tiles;
  let stored = sizes.first_row + local_row;
  if (stored >= sizes.end_row) { return; }
  let row = select(stored, order[min(stored, arrayLength(&order) - 1u)], sizes.ordered != 0u);
  let of_group = (row / sizes.group_rows) * sizes.x_group;
  var windows: array<u32, PIXELS>;
  var sums: array<f32, PIXELS>;
  let first = tile * WORKGROUP * PIXELS + thread;
  for (var p = 0u; p < PIXELS; p++) {
    windows[p] = window_at(min(first + p * WORKGROUP, sizes.pixels - 1u)) + of_group;
  }
  let start = starts[local_row / BLOCK_ROWS];
  let row_words = (starts[local_row / BLOCK_ROWS + 1u] - start) / BLOCK_ROWS;
  var before = BEFORE;
  for (var k = 0u; k < row_words; k += WORKGROUP) {
    // a word's columns, from 0 on; threads behind the last word have nothing
    let here = k + thread < row_words;
    var word = 0u;
    if (here) { word = words[start + (k + thread) * BLOCK_ROWS + local_row % BLOCK_ROWS]; }
    var length = 0u;
    var entry = word;
    for (var i = 0u; i < PER_WORD; i++) {
      length += length_of(entry);
      entry >>= ENTRY_BITS;
    }
    length = select(0u, length, here);
    let reached = before + scan(length, thread);
    var column = reached - length;
    entry = word;
    for (var i = 0u; i < PER_WORD; i++) {
      column += length_of(entry);
      places[thread * PER_WORD + i] = offsets[min(column, sizes.cols - 1u)];
      factors[thread * PER_WORD + i] = weight_of(entry);
      entry >>= ENTRY_BITS;
    }
    if (thread == WORKGROUP - 1u) { last = reached; }
    workgroupBarrier();
    before = last;
    for (var i = 0u; i < min(WORKGROUP, row_words - k) * PER_WORD; i++) {
      let factor = factors[i];
      if (factor == 0.0) { continue; }
      let place = places[i];
      for (var p = 0u; p < PIXELS; p++) { sums[p] += factor * f32(x[windows[p] + place]); }
    }
    workgroupBarrier();
  }
  for (var p = 0u; p < PIXELS; p++) {
    let pixel = first + p * WORKGROUP;
    if (pixel < sizes.pixels) { y[output_at(row, pixel)] = Real(activate(sums[p] + bias[row])); }
  }
}
