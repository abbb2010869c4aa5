/* Images as convolutions read them: padded, and for strides split into phases, so that neighbouring
 * outputs read neighbouring numbers. */
#include "compute.h"

/* One axis. An input at place p of the padded axis lies in phase p % stride, at p / stride. */
typedef struct {
  uint32_t in, kernel, stride, pad, dilation;
  uint32_t phases, length; /* phases that taps use, and numbers a phase */
} dcz_axis;

/* The axes depth, height, width of all channels. JavaScript writes it, word by word. */
typedef struct {
  uint32_t channels;
  dcz_axis axis[3];
} dcz_images;

/* Numbers of a channel. */
static uint32_t dcz_channel_size(const dcz_images *images) {
  uint32_t size = 1;
  for (uint32_t i = 0; i < 3; ++i) size *= images->axis[i].phases * images->axis[i].length;
  return size;
}

/* The numbers of one phase along the width: inputs pad behind, stride apart. */
static void dcz_line(const dcz_axis *axis, uint32_t phase, const float *x, float *out) {
  for (uint32_t i = 0; i < axis->length; ++i) {
    const uint32_t at = phase + i * axis->stride - axis->pad;
    out[i] = at < axis->in ? x[at] : 0.0f;
  }
}

static void dcz_whole_line(const dcz_axis *axis, const float *x, float *out) {
  const uint32_t room = axis->length > axis->pad ? axis->length - axis->pad : 0;
  const uint32_t count = room < axis->in ? room : axis->in;
  memset(out, 0, 4u * axis->length);
  memcpy(out + (axis->length - room), x, 4u * count);
}

/* Copies an image (channels, depth, height, width) to phases: out[channel][phase z, y, x][z][y][x].
 */
void DCZ_EXPORT(spread)(const dcz_images *images, const float *x, float *out) {
  const dcz_axis *d = &images->axis[0], *h = &images->axis[1], *w = &images->axis[2];
  for (uint32_t channel = 0; channel < images->channels; ++channel, x += d->in * h->in * w->in)
    for (uint32_t phase_z = 0; phase_z < d->phases; ++phase_z)
      for (uint32_t phase_y = 0; phase_y < h->phases; ++phase_y)
        for (uint32_t phase_x = 0; phase_x < w->phases; ++phase_x)
          for (uint32_t z = 0; z < d->length; ++z)
            for (uint32_t y = 0; y < h->length; ++y, out += w->length) {
              const uint32_t at_z = phase_z + z * d->stride - d->pad;
              const uint32_t at_y = phase_y + y * h->stride - h->pad;
              if (at_z >= d->in || at_y >= h->in) {
                memset(out, 0, 4u * w->length);
                continue;
              }
              const float *line = x + (at_z * h->in + at_y) * w->in;
              if (w->stride == 1)
                dcz_whole_line(w, line, out);
              else
                dcz_line(w, phase_x, line, out);
            }
}

static uint32_t dcz_phase(const dcz_axis *axis, uint32_t tap) {
  return tap * axis->dilation % axis->stride;
}

static uint32_t dcz_shift(const dcz_axis *axis, uint32_t tap) {
  return tap * axis->dilation / axis->stride;
}

/* The byte offset of each column of the weights, from the place of an output, in what dcz_spread
 * wrote. */
void DCZ_EXPORT(image_offsets)(const dcz_images *images, uint32_t channels, uint32_t *offsets) {
  const dcz_axis *d = &images->axis[0], *h = &images->axis[1], *w = &images->axis[2];
  const uint32_t size = dcz_channel_size(images), plane = d->length * h->length * w->length;
  for (uint32_t channel = 0; channel < channels; ++channel)
    for (uint32_t z = 0; z < d->kernel; ++z)
      for (uint32_t y = 0; y < h->kernel; ++y)
        for (uint32_t x = 0; x < w->kernel; ++x) {
          const uint32_t phase =
              (dcz_phase(d, z) * h->phases + dcz_phase(h, y)) * w->phases + dcz_phase(w, x);
          const uint32_t line = dcz_shift(d, z) * h->length + dcz_shift(h, y);
          const uint32_t at = line * w->length + dcz_shift(w, x);
          *offsets++ = 4u * (channel * size + phase * plane + at);
        }
}

/* Takes the outputs out of the places of all channels, which are `pitch` apart: the places of an
 * image have the lengths of the phases, and the outputs fewer. */
void DCZ_EXPORT(gather)(const dcz_images *images, const float *places, uint32_t pitch,
                        uint32_t depth, uint32_t height, uint32_t width, uint32_t channels,
                        float *y) {
  const uint32_t lines = images->axis[1].length, line = images->axis[2].length;
  for (uint32_t channel = 0; channel < channels; ++channel, places += pitch)
    for (uint32_t z = 0; z < depth; ++z)
      for (uint32_t row = 0; row < height; ++row, y += width)
        memcpy(y, places + (z * lines + row) * line, 4u * width);
}
