// Functions that are called, tables of jumps, wide products.
extern "C" __device__ __noinline__ int steps(unsigned n) { int s = 0; while (n != 1) { n = n & 1 ? 3 * n + 1 : n / 2; s++; } return s; }
extern "C" __global__ void collatz(int* y) { y[threadIdx.x] = steps(threadIdx.x + 1) + 1000 * steps(threadIdx.x + 2); }
extern "C" __global__ void choose(int* y) {
    int i = threadIdx.x;
    switch (i % 7) {
        case 0: y[i] = 3; break;
        case 1: y[i] = i * i; break;
        case 2: y[i] = 7; break;
        case 3: y[i] = i / 3; break;
        case 4: y[i] = i % 5; break;
        case 5: y[i] = __popc(i); break;
        default: y[i] = -i;
    }
    __int128 q = (__int128)i * 0x123456789abcdefLL;
    y[i] += (int)(q >> 40);
}
