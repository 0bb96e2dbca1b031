// Kernels for the simulator's tests, without any CUDA header. scalar.ptx was made from this file by
//   clang-22 -x cuda --cuda-device-only -nocudainc -nocudalib -S --cuda-gpu-arch=sm_80 -O2 --cuda-feature=+ptx80 scalar.cu
#define __global__ __attribute__((global))
#define __device__ __attribute__((device))
#define __shared__ __attribute__((shared))
#define TX __nvvm_read_ptx_sreg_tid_x()
#define TY __nvvm_read_ptx_sreg_tid_y()
#define BX __nvvm_read_ptx_sreg_ctaid_x()
#define BY __nvvm_read_ptx_sreg_ctaid_y()
#define NX __nvvm_read_ptx_sreg_ntid_x()
typedef __bf16 bf16;
#define BAR __nvvm_bar_sync(0)
// depthwise 3x3x3-like (2-D 5x5) through a shared tile
extern "C" __global__ void depthwise(const float* __restrict__ x, const float* __restrict__ w, float* __restrict__ y, int h, int wd) {
  __shared__ float tile[12][36];
  int bx = BX * 32, by = BY * 8;
  for (int i = TY * 32 + TX; i < 12 * 36; i += 256) {
    int r = by + i / 36 - 2, c = bx + i % 36 - 2;
    tile[i / 36][i % 36] = (r >= 0 && r < h && c >= 0 && c < wd) ? x[r * wd + c] : 0.f;
  }
  BAR;
  float s = 0;
  #pragma unroll
  for (int i = 0; i < 5; i++)
  #pragma unroll
    for (int j = 0; j < 5; j++) s = __builtin_fmaf(tile[TY + i][TX + j], w[i * 5 + j], s);
  if (by + TY < h && bx + TX < wd) y[(by + TY) * wd + bx + TX] = s;
}
// mean and variance of rows by shuffles, then normalise in bf16
extern "C" __global__ void rownorm(const float* x, bf16* y, int n) {
  __shared__ float part[2][32];
  float s = 0, q = 0;
  const float* row = x + (long)BX * n;
  for (int i = TX; i < n; i += NX) { float v = row[i]; s += v; q += v * v; }
  for (int o = 16; o; o >>= 1) { s += __nvvm_shfl_sync_bfly_f32(-1, s, o, 31); q += __nvvm_shfl_sync_bfly_f32(-1, q, o, 31); }
  int warp = TX / 32, lane = TX % 32;
  if (lane == 0) { part[0][warp] = s; part[1][warp] = q; }
  BAR;
  s = lane < NX / 32 ? part[0][lane] : 0.f; q = lane < NX / 32 ? part[1][lane] : 0.f;
  for (int o = 16; o; o >>= 1) { s += __nvvm_shfl_sync_bfly_f32(-1, s, o, 31); q += __nvvm_shfl_sync_bfly_f32(-1, q, o, 31); }
  float mean = s / n, var = q / n - mean * mean;
  float r = __nvvm_rsqrt_approx_f(var + 1e-5f);
  for (int i = TX; i < n; i += NX) y[(long)BX * n + i] = (bf16)((row[i] - mean) * r);
}
// arg-max over channels with bytes out, int64 divisions, switch
extern "C" __global__ void argmax(const bf16* x, unsigned char* y, long n, int classes) {
  long i = (long)BX * NX + TX;
  if (i >= n) return;
  float best = (float)x[i]; int at = 0;
  for (int c = 1; c < classes; c++) { float v = (float)x[c * n + i]; if (v > best) { best = v; at = c; } }
  switch (i % 7) { case 0: at += 10; break; case 1: at ^= 3; break; case 2: at = at * 5 + 1; break; case 3: at -= 1; break; case 4: at = at << 2; break; case 5: at |= 8; break; default: at = at / 3; }
  y[i] = (unsigned char)at;
}
// histogram with shared and global atomics
extern "C" __global__ void histogram(const unsigned* x, unsigned* bins, float* total, int n) {
  __shared__ unsigned local[64];
  if (TX < 64) local[TX] = 0;
  BAR;
  int i = BX * NX + TX;
  if (i < n) __nvvm_atom_add_gen_i((int*)&local[x[i] % 64], 1);
  BAR;
  if (TX < 64 && local[TX]) { __atomic_fetch_add(&bins[TX], local[TX], __ATOMIC_RELAXED); }
  if (i < n) __nvvm_atom_add_gen_f(total, (float)(x[i] & 3));
}
// mixed integer and double arithmetic through local arrays
extern "C" __global__ void mixed(const int* x, double* y, int n) {
  int i = BX * NX + TX;
  double acc[8];
  for (int k = 0; k < 8; k++) acc[k] = x[(i + k) % n] * 0.25;
  for (int k = 0; k < 20; k++) acc[(x[(i + k) % n] & 7)] += acc[(k * 3) & 7] / (k + 1.5);
  long long h = 1469598103934665603ll; 
  for (int k = 0; k < 5; k++) { h ^= x[(i * 7 + k) % n]; h *= 1099511628211ll; h = (h >> 7) | (h << 57); }
  double s = 0; for (int k = 0; k < 8; k++) s += acc[k];
  y[i] = s + (double)(h % 1000) + (unsigned long long)h / 1e18;
}
