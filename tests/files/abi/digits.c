/* Calls the compiled digits network: pictures as raw floats on standard input, their number as the argument, answers on standard output. */
#include "digits.h"
#include <stdio.h>
#include <stdlib.h>

int main(int argc, char **argv) {
  int64_t dims[1] = {argc > 1 ? atoll(argv[1]) : 1}, bytes = 0, shape[2], detail = -1;
  int32_t status = digits_arena_bytes(dims, 1, &bytes);
  if (status == KILN_OK) status = digits_output_shapes(dims, shape);
  if (status != KILN_OK) return 10 + status;
  size_t pixels = (size_t)dims[0] * 28 * 28, answers = (size_t)(shape[0] * shape[1]);
  float *image = malloc(pixels * sizeof(float)), *probabilities = malloc(answers * sizeof(float));
  void *arena = aligned_alloc(KILN_ALIGNMENT, (size_t)(bytes + KILN_ALIGNMENT - 1) / KILN_ALIGNMENT * KILN_ALIGNMENT);
  if (fread(image, sizeof(float), pixels, stdin) != pixels) return 2;
  const void *inputs[1] = {image};
  void *outputs[1] = {probabilities};
  kiln_call call = {.inputs = inputs, .outputs = outputs, .dims = dims, .arena = arena, .arena_bytes = bytes, .detail = &detail};
  status = digits_predict(&call);
  if (status != KILN_OK) return 10 + status;
  return fwrite(probabilities, sizeof(float), answers, stdout) == answers ? 0 : 3;
}
