// How long a GPU computes, apart from sending inputs and fetching results.

/** Milliseconds of one run, and how they were measured: by the GPU's own clock, or from submission to completion. */
export interface GpuTime {
  readonly milliseconds: number;
  readonly by: "timestamps" | "submission";
}

// GPUBufferUsage and GPUMapMode.READ, by the numbers of the standard.
const MAP_READ = 0x01;
const COPY_SRC = 0x04;
const COPY_DST = 0x08;
const QUERY_RESOLVE = 0x200;

/** Times `rounds` runs in one pass; `encode` writes one run. Clocks of browsers are coarse: 0.1 ms. */
export async function timeRounds(
  device: GPUDevice,
  encode: (pass: GPUComputePassEncoder) => void,
  rounds: number,
): Promise<GpuTime> {
  const encoder = device.createCommandEncoder();
  const all = (pass: GPUComputePassEncoder) => {
    for (let round = 0; round < rounds; round += 1) encode(pass);
    pass.end();
  };
  if (!device.features.has("timestamp-query")) {
    all(encoder.beginComputePass());
    const commands = encoder.finish();
    await device.queue.onSubmittedWorkDone();
    const start = performance.now();
    device.queue.submit([commands]);
    await device.queue.onSubmittedWorkDone();
    return { milliseconds: (performance.now() - start) / rounds, by: "submission" };
  }
  const querySet = device.createQuerySet({ type: "timestamp", count: 2 });
  const resolved = device.createBuffer({ size: 16, usage: QUERY_RESOLVE | COPY_SRC });
  const read = device.createBuffer({ size: 16, usage: MAP_READ | COPY_DST });
  all(
    encoder.beginComputePass({
      timestampWrites: { querySet, beginningOfPassWriteIndex: 0, endOfPassWriteIndex: 1 },
    }),
  );
  encoder.resolveQuerySet(querySet, 0, 2, resolved, 0);
  encoder.copyBufferToBuffer(resolved, 0, read, 0, 16);
  device.queue.submit([encoder.finish()]);
  await read.mapAsync(MAP_READ);
  const [begin = 0n, end = 0n] = new BigUint64Array(read.getMappedRange());
  const milliseconds = Number(end - begin) / 1e6 / rounds;
  for (const used of [querySet, resolved, read]) used.destroy();
  return { milliseconds, by: "timestamps" };
}
