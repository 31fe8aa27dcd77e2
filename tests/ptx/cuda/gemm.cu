// C = A B of any size: tiles of 16 x 16 in shared memory; and the same in halves with f32 sums.
#include <cuda_fp16.h>
#include <cuda_bf16.h>

extern "C" __global__ void __launch_bounds__(256) gemm_tiled(const float* a, const float* b, float* c, int m, int n, int k) {
    __shared__ float ta[16][16], tb[16][17];
    int x = threadIdx.x, y = threadIdx.y;
    int row = blockIdx.y * 16 + y, column = blockIdx.x * 16 + x;
    float sum = 0.0f;
    for (int base = 0; base < k; base += 16) {
        ta[y][x] = row < m && base + x < k ? a[row * k + base + x] : 0.0f;
        tb[y][x] = column < n && base + y < k ? b[(base + y) * n + column] : 0.0f;
        __syncthreads();
#pragma unroll
        for (int i = 0; i < 16; i++) sum = fmaf(ta[y][i], tb[i][x], sum);
        __syncthreads();
    }
    if (row < m && column < n) c[row * n + column] = sum;
}

extern "C" __global__ void halves(const __half2* x, const __nv_bfloat16* y, __half2* p, __nv_bfloat16* q, float* r, int n) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    __half2 v = __hfma2(x[i], x[i], __float2half2_rn(0.5f));
    p[i] = __hmax2(v, __float2half2_rn(1.0f));
    q[i] = __float2bfloat16(__bfloat162float(y[i]) * 3.0f + (float)i);
    r[i] = tanhf(__low2float(v)) + sqrtf((float)(i % 7)) + powf(1.5f, (float)(i % 5)) + (float)(i / 3) - sinf((float)i * 0.1f);
}
