// The smallest ONNX models: one layer with its weights, for the peer that benchmarks compare with.

function varint(number) {
  const bytes = [];
  for (let left = number; ; left = Math.floor(left / 128)) {
    if (left < 128) return [...bytes, left];
    bytes.push((left % 128) + 128);
  }
}

/** Parts of a message: [field, number, text, bytes, or a list of parts]. */
function message(parts) {
  const pieces = [];
  for (const [field, value] of parts) {
    if (typeof value === "number") {
      pieces.push(Uint8Array.from([...varint(field * 8), ...varint(value)]));
      continue;
    }
    let bytes = value;
    if (typeof value === "string") bytes = new TextEncoder().encode(value);
    else if (Array.isArray(value)) bytes = message(value);
    pieces.push(Uint8Array.from([...varint(field * 8 + 2), ...varint(bytes.length)]), bytes);
  }
  const whole = new Uint8Array(pieces.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const piece of pieces) {
    whole.set(piece, at);
    at += piece.length;
  }
  return whole;
}

const FLOAT = 1;
const [INT_ATTRIBUTE, INTS_ATTRIBUTE] = [2, 7];

const tensor = (name, shape, data) => [
  ...shape.map((length) => [1, length]),
  [2, FLOAT],
  [8, name],
  [9, new Uint8Array(data.buffer, data.byteOffset, data.byteLength)],
];

const value = (name, shape) => [
  [1, name],
  [
    2,
    [
      [
        1,
        [
          [1, FLOAT],
          [2, shape.map((length) => [1, [[1, length]]])],
        ],
      ],
    ],
  ],
];

const attribute = ([name, number]) => [
  5,
  Array.isArray(number)
    ? [[1, name], ...number.map((each) => [8, each]), [20, INTS_ATTRIBUTE]]
    : [
        [1, name],
        [3, number],
        [20, INT_ATTRIBUTE],
      ],
];

/** A model y = operator(x, w), with integers or lists of integers as attributes. */
export function oneLayer(operator, attributes, weights, inputShape, outputShape) {
  const node = [[1, "x"], [1, "w"], [2, "y"], [4, operator], ...Object.entries(attributes).map(attribute)];
  const graph = [
    [1, node],
    [2, "layer"],
    [5, tensor("w", weights.shape, weights.data)],
    [11, value("x", inputShape)],
    [12, value("y", outputShape)],
  ];
  return message([
    [1, 8],
    [7, graph],
    [
      8,
      [
        [1, ""],
        [2, 13],
      ],
    ],
  ]);
}
