// Softmax of rows: one block per row, the row read once per pass, warp shuffles and one exchange through shared memory.
extern "C" __global__ void __launch_bounds__(256) softmax_rows(const float* __restrict__ x, float* __restrict__ y, int columns) {
    __shared__ float partial[32];
    const float* row = x + (size_t)blockIdx.x * columns;
    int lane = threadIdx.x & 31, warp = threadIdx.x >> 5, warps = (blockDim.x + 31) >> 5;
    float largest = -__int_as_float(0x7f800000);
    for (int i = threadIdx.x; i < columns; i += blockDim.x) largest = fmaxf(largest, row[i]);
    for (int d = 16; d > 0; d >>= 1) largest = fmaxf(largest, __shfl_xor_sync(0xffffffffu, largest, d));
    if (lane == 0) partial[warp] = largest;
    __syncthreads();
    largest = partial[0];
    for (int w = 1; w < warps; w++) largest = fmaxf(largest, partial[w]);
    __syncthreads();
    float sum = 0.0f;
    for (int i = threadIdx.x; i < columns; i += blockDim.x) sum += __expf(row[i] - largest);
    for (int d = 16; d > 0; d >>= 1) sum += __shfl_xor_sync(0xffffffffu, sum, d);
    if (lane == 0) partial[warp] = sum;
    __syncthreads();
    sum = 0.0f;
    for (int w = 0; w < warps; w++) sum += partial[w];
    for (int i = threadIdx.x; i < columns; i += blockDim.x) y[(size_t)blockIdx.x * columns + i] = __expf(row[i] - largest) / sum;
}
