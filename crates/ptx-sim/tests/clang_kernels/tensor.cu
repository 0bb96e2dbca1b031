// A GEMM on tensor cores for the simulator's tests. tensor.ptx was made from this file by
//   clang-22 -x cuda --cuda-device-only -nocudainc -nocudalib -S --cuda-gpu-arch=sm_80 -O2 --cuda-feature=+ptx80 tensor.cu
#define __global__ __attribute__((global))
#define __device__ __attribute__((device))
#define __shared__ __attribute__((shared))
#define TX __nvvm_read_ptx_sreg_tid_x()
#define BX __nvvm_read_ptx_sreg_ctaid_x()
#define BY __nvvm_read_ptx_sreg_ctaid_y()
typedef __bf16 bf16;

static __device__ inline unsigned address(const void *p) {
  return (unsigned)(unsigned long)(__attribute__((address_space(3))) const void *)p;
}
static __device__ inline void copy16(bf16 *to, const bf16 *from, int bytes) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(address(to)), "l"(from), "r"(bytes) : "memory");
}

// d = a * b with a [m][k], b [k][n], float32 d; m, n, k any multiples of 8. Tiles of 64 x 64 x 32, three stages, rows swizzled.
extern "C" __global__ void gemm(const bf16 *a, const bf16 *b, float *d, int m, int n, int k) {
  __shared__ __attribute__((aligned(128))) bf16 sa[3][64 * 32], sb[3][32 * 64];
  int warp = TX / 32, lane = TX % 32, row0 = BY * 64, col0 = BX * 64;
  float acc[2][4][4] = {};
  int steps = (k + 31) / 32;
  auto stage = [&](int s) {
    if (s < steps) {
      for (int i = TX; i < 256; i += 128) {
        int r = i / 4, c = i % 4;
        bool in = row0 + r < m && s * 32 + c * 8 < k;
        copy16(&sa[s % 3][r * 32 + (c ^ (r / 2 % 4)) * 8], in ? a + (long)(row0 + r) * k + s * 32 + c * 8 : a, in ? 16 : 0);
      }
      for (int i = TX; i < 256; i += 128) {
        int r = i / 8, c = i % 8;
        bool in = s * 32 + r < k && col0 + c * 8 < n;
        copy16(&sb[s % 3][r * 64 + (c ^ (r % 8)) * 8], in ? b + (long)(s * 32 + r) * n + col0 + c * 8 : b, in ? 16 : 0);
      }
    }
    asm volatile("cp.async.commit_group;" ::: "memory");
  };
  stage(0);
  stage(1);
  for (int s = 0; s < steps; s++) {
    asm volatile("cp.async.wait_group 1;" ::: "memory");
    __nvvm_bar_sync(0);
    stage(s + 2);
    for (int kk = 0; kk < 2; kk++) {
      unsigned ra[2][4], rb[4][2];
      for (int i = 0; i < 2; i++) {
        int r = (warp / 2) * 32 + i * 16 + lane % 16, c = kk * 2 + lane / 16;
        asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
                     : "=r"(ra[i][0]), "=r"(ra[i][1]), "=r"(ra[i][2]), "=r"(ra[i][3])
                     : "r"(address(&sa[s % 3][r * 32 + (c ^ (r / 2 % 4)) * 8])) : "memory");
      }
      for (int j = 0; j < 4; j += 2) {
        int r = kk * 16 + lane % 16, c = (warp % 2) * 4 + j + lane / 16;
        asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
                     : "=r"(rb[j][0]), "=r"(rb[j][1]), "=r"(rb[j + 1][0]), "=r"(rb[j + 1][1])
                     : "r"(address(&sb[s % 3][r * 64 + (c ^ (r % 8)) * 8])) : "memory");
      }
      for (int i = 0; i < 2; i++)
        for (int j = 0; j < 4; j++)
          asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
                       : "+f"(acc[i][j][0]), "+f"(acc[i][j][1]), "+f"(acc[i][j][2]), "+f"(acc[i][j][3])
                       : "r"(ra[i][0]), "r"(ra[i][1]), "r"(ra[i][2]), "r"(ra[i][3]), "r"(rb[j][0]), "r"(rb[j][1]));
    }
  }
  for (int i = 0; i < 2; i++)
    for (int j = 0; j < 4; j++)
      for (int e = 0; e < 4; e++) {
        int r = row0 + (warp / 2) * 32 + i * 16 + lane / 4 + e / 2 * 8, c = col0 + (warp % 2) * 32 + j * 8 + lane % 4 * 2 + e % 2;
        if (r < m && c < n) d[(long)r * n + c] = acc[i][j][e];
      }
}
