/* Trains a line through points by the compiled step alone: states change in place. Prints the loss of the first and the last step. */
#include "line_train_step.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BATCH = 8, STATES = 6, INPUTS = 5 + STATES, OUTPUTS = 1 + STATES };

int main(void) {
  float x[BATCH], target[BATCH], loss = 0;
  uint64_t key = 0;
  double learning_rate = 0.1;
  int64_t count = 0, dims[] = {BATCH}, bytes = 0;
  float states[STATES][1] = {{0}};
  for (int i = 0; i < BATCH; i++) {
    x[i] = (float)i / BATCH;
    target[i] = 3 * x[i] - 1;
  }
  if (line_train_step_arena_bytes(dims, 1, &bytes) != KILN_OK) return 2;
  void *arena = aligned_alloc(64, (size_t)(bytes + 63) / 64 * 64);
  const void *inputs[INPUTS] = {x, target, &key, &learning_rate, &count};
  void *outputs[OUTPUTS] = {&loss};
  for (int i = 0; i < STATES; i++) inputs[5 + i] = outputs[1 + i] = states[i];
  kiln_call call = {.inputs = inputs, .outputs = outputs, .dims = dims, .arena = arena, .arena_bytes = bytes};
  for (count = 1; count <= 300; count++) {
    if (line_train_step_predict(&call) != KILN_OK) return 3;
    if (count == 1) printf("%.6f\n", loss);
  }
  printf("%.6f\n", loss);
  free(arena);
  return 0;
}
