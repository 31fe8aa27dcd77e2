/* A model written by hand against the C ABI: p = w * x / sum(w * x), total = sum(w * x), for 28 x 28 pictures; its
   weights w lie behind the executable, embedded or beside it, as SIGNATURE and WEIGHTS say. Test input for
   compiled_program.rs, which also shows what a caller in C sees. */
#include <stdint.h>
#include <stddef.h>

typedef void (*kiln_kernel)(const void *args, int64_t worker, int64_t begin, int64_t end);
typedef struct {
  void *data;
  int64_t workers;
  void (*parallel_for)(void *data, int64_t tasks, int64_t grain, kiln_kernel kernel, const void *args);
} kiln_pool;
typedef struct {
  const void *const *inputs;
  void *const *outputs;
  const int64_t *dims;
  void *arena;
  int64_t arena_bytes;
  const void *weights;
  const kiln_pool *pool;
  int64_t *detail;
  int64_t *output_dims;
} kiln_call;
typedef struct {
  uint32_t abi_version, flags;
  const char *signature;
  uint64_t signature_bytes;
  const void *weights;
  uint64_t weights_bytes;
  int32_t (*predict)(const kiln_call *);
  int32_t (*arena_bytes)(const int64_t *, int64_t, int64_t *);
  int32_t (*output_shapes)(const int64_t *, int64_t *);
} kiln_model;

static void classify(const void *args, int64_t worker, int64_t begin, int64_t end) {
  const kiln_call *call = args;
  const float *x = call->inputs[0], *w = call->weights;
  float *p = call->outputs[0], *total = call->outputs[1];
  (void)worker;
  for (int64_t row = begin; row < end; row++) {
    float sum = 0;
    for (int i = 0; i < 784; i++) sum += p[row * 784 + i] = w[i] * x[row * 784 + i];
    for (int i = 0; i < 784; i++) p[row * 784 + i] /= sum;
    total[row] = sum;
  }
}

static int32_t predict(const kiln_call *call) {
  if (!call->weights) return 7;
  if ((uintptr_t)call->weights % 64 || (uintptr_t)call->arena % 64) return 3;
  call->pool->parallel_for(call->pool->data, call->dims[0], 1, classify, call);
  return 0;
}

static int32_t arena_bytes(const int64_t *dims, int64_t threads, int64_t *bytes) {
  (void)dims;
  *bytes = 64 * threads;
  return 0;
}

static int32_t output_shapes(const int64_t *dims, int64_t *shapes) {
  shapes[0] = dims[0];
  shapes[1] = 784;
  shapes[2] = dims[0];
  return 0;
}

static const char signature[] = SIGNATURE;
const kiln_model classifier_model = {
    1, 0, signature, sizeof signature - 1, NULL, 784 * sizeof(float), predict, arena_bytes, output_shapes};

int kiln_runtime_main(int argc, char **argv, const kiln_model *model);
int main(int argc, char **argv) { return kiln_runtime_main(argc, argv, &classifier_model); }
