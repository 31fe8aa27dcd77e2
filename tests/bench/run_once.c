/* Runs a compiled model exactly once, on one thread and on fixed inputs, so that its instructions can be counted.
 *
 *   cc -include digits.h -DMODEL=digits_model run_once.c digits.o -o digits
 *   ./digits                                            prints the signature, as JSON
 *   ./digits --dim 2 --input f4:6272 --output 80        runs it: sizes, then bytes of inputs and outputs, in the signature's order
 *
 * The letter of an input says what it holds: f, floats from 0 to 1 (f2: bf16); i, integers 0 and 1. Outputs are not looked at.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST = 4096 };

static void fail(const char *what, long detail) {
  fprintf(stderr, "run_once: %s (%ld)\n", what, detail);
  exit(1);
}

static void *memory(size_t bytes) {
  size_t rounded = (bytes + KILN_ALIGNMENT) / KILN_ALIGNMENT * KILN_ALIGNMENT;
  void *found = aligned_alloc(KILN_ALIGNMENT, rounded);
  if (!found) fail("no memory for so many bytes", (long)bytes);
  return memset(found, 0, rounded);
}

/* Numbers of a linear congruential generator, of which the upper bits count. */
static unsigned next(unsigned *state) {
  *state = *state * 1664525u + 1013904223u;
  return *state >> 16;
}

static void *input(const char *text) {
  char kind;
  unsigned size, state = 1;
  size_t bytes;
  if (sscanf(text, "%c%u:%zu", &kind, &size, &bytes) != 3) fail("an input is KIND SIZE : BYTES", 0);
  char *values = memory(bytes);
  for (size_t at = 0; at + size <= bytes; at += size) {
    unsigned drawn = next(&state);
    float number = (float)(drawn & 0xffff) / 65536.0f;
    double wide = number;
    if (kind == 'f' && size == 8) memcpy(values + at, &wide, 8);
    else if (kind == 'f' && size == 4) memcpy(values + at, &number, 4);
    else if (kind == 'f') memcpy(values + at, (char *)&number + 2, 2);
    else values[at] = (char)(drawn & 1);
  }
  return values;
}

int main(int argc, char **argv) {
  static const void *inputs[MOST];
  static void *outputs[MOST];
  static int64_t dims[MOST];
  int n_inputs = 0, n_outputs = 0, n_dims = 0;
  int64_t arena_bytes, detail = 0;
  if (argc == 1) {
    fwrite(MODEL.signature, 1, MODEL.signature_bytes, stdout);
    return 0;
  }
  for (int at = 1; at + 1 < argc; at += 2) {
    if (n_inputs == MOST || n_outputs == MOST || n_dims == MOST) fail("more arguments than there is room for", MOST);
    if (!strcmp(argv[at], "--dim")) dims[n_dims++] = atoll(argv[at + 1]);
    else if (!strcmp(argv[at], "--input")) inputs[n_inputs++] = input(argv[at + 1]);
    else if (!strcmp(argv[at], "--output")) outputs[n_outputs++] = memory((size_t)atoll(argv[at + 1]));
    else fail("an argument that is not known", at);
  }
  int status = MODEL.arena_bytes(dims, 1, &arena_bytes);
  if (status != KILN_OK) fail("no size of the arena: status", status);
  kiln_call call = { inputs, outputs, dims, memory((size_t)arena_bytes), arena_bytes, 0, 0, &detail, 0 };
  status = MODEL.predict(&call);
  if (status != KILN_OK) fail("the run ended with status", status);
  return 0;
}
