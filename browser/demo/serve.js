// Work in a worker, from the worker's side: functions that the page calls by name (tasks.js).

/** Each function takes an argument and `tell(report)`; buffers in the `transfer` of its result go without a copy. */
export function serve(functions) {
  self.onmessage = async ({ data: { number, name, argument } }) => {
    try {
      const { transfer = [], ...result } = await functions[name](argument, (report) => post({ number, report }));
      post({ number, result }, transfer);
    } catch (error) {
      post({ number, error: { message: inWords(error), code: error?.code } });
    }
  };
}

function post(message, transfer = []) {
  self.postMessage(message, transfer);
}

function inWords(error) {
  // what engines throw when they get no memory
  if (error instanceof RangeError) return `This device gave no memory for it (${error.message}).`;
  return error instanceof Error ? error.message : String(error);
}
