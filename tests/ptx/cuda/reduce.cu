// Sum of many numbers in f64: blocks leave partial sums, the last block to finish adds them (threadFenceReduction).
__device__ unsigned int finished = 0;

__device__ __forceinline__ double of_block(double value) {
    __shared__ double partial[32];
    int lane = threadIdx.x & 31, warp = threadIdx.x >> 5;
    for (int d = 16; d > 0; d >>= 1) value += __shfl_down_sync(0xffffffffu, value, d);
    if (lane == 0) partial[warp] = value;
    __syncthreads();
    value = threadIdx.x < (blockDim.x >> 5) ? partial[lane] : 0.0;
    if (warp == 0) for (int d = 16; d > 0; d >>= 1) value += __shfl_down_sync(0xffffffffu, value, d);
    __syncthreads();
    return value;
}

extern "C" __global__ void __launch_bounds__(128) reduce_sum(const float* x, double* partials, double* total, unsigned long long n) {
    __shared__ bool last;
    double value = 0.0;
    for (unsigned long long i = blockIdx.x * (unsigned long long)blockDim.x + threadIdx.x; i < n; i += gridDim.x * (unsigned long long)blockDim.x) value += x[i];
    value = of_block(value);
    if (threadIdx.x == 0) {
        partials[blockIdx.x] = value;
        __threadfence();
        last = atomicInc(&finished, gridDim.x - 1) == gridDim.x - 1;
        __threadfence();
    }
    __syncthreads();
    if (!last) return;
    value = 0.0;
    for (int i = threadIdx.x; i < gridDim.x; i += blockDim.x) value += partials[i];
    value = of_block(value);
    if (threadIdx.x == 0) *total = value;
}
