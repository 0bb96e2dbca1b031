// Kernels in the shape of a network's, compiled by clang 22 without a CUDA SDK; the PTX beside this file is committed. To make it again:
//   clang-22 -x cuda --cuda-device-only --cuda-gpu-arch=sm_80 -nocudainc -nocudalib -Xclang -target-feature -Xclang +ptx80 -O3 -S kernels.cu -o kernels.sm_80.ptx
#define GLOBAL __attribute__((global))
#define DEVICE __attribute__((device))
#define SHARED __attribute__((shared))

#define tid __nvvm_read_ptx_sreg_tid_x()
#define cta __nvvm_read_ptx_sreg_ctaid_x()
#define ncta __nvvm_read_ptx_sreg_nctaid_x()

// Depthwise 3 x 3 x 3 over one channel per CTA, planes staged through shared memory; extent n <= 16, block of 256 (y, x).
extern "C" GLOBAL void dwconv3(const float *in, const float *w, const float *bias, float *out, int n) {
  SHARED float plane[3][18][18];
  const int y = tid / 16, x = tid % 16, c = cta;
  const float *src = in + (long)c * n * n * n;
  for (int i = tid; i < 3 * 18 * 18; i += 256) ((float *)plane)[i] = 0.f;
  __nvvm_bar_sync(0);
  float k[27];
#pragma unroll
  for (int i = 0; i < 27; ++i) k[i] = w[c * 27 + i];
  const bool inside = y < n && x < n;
  if (inside) plane[1][y + 1][x + 1] = src[y * n + x];
  for (int z = 0; z < n; ++z) {
    if (inside) plane[(z + 2) % 3][y + 1][x + 1] = z + 1 < n ? src[((z + 1) * n + y) * n + x] : 0.f;
    __nvvm_bar_sync(0);
    float acc = bias[c];
#pragma unroll
    for (int dz = 0; dz < 3; ++dz)
#pragma unroll
      for (int dy = 0; dy < 3; ++dy)
#pragma unroll
        for (int dx = 0; dx < 3; ++dx) acc = __builtin_fmaf(plane[(z + dz) % 3][y + dy][x + dx], k[(dz * 3 + dy) * 3 + dx], acc);
    if (inside) out[(long)c * n * n * n + (z * n + y) * n + x] = acc;
    __nvvm_bar_sync(0);
  }
}

// Mean and variance of each row of `length`, by shuffles and shared memory, then (x - mean) / sqrt(var + eps); block of 128.
extern "C" GLOBAL void normalise(const float *in, float *out, int length) {
  SHARED float part[2][4];
  const float *row = in + (long)cta * length;
  float s = 0.f, q = 0.f;
  for (int i = tid; i < length; i += 128) {
    const float v = row[i];
    s += v;
    q = __builtin_fmaf(v, v, q);
  }
  for (int d = 16; d; d >>= 1) {
    s += __nvvm_shfl_sync_bfly_f32(0xffffffff, s, d, 31);
    q += __nvvm_shfl_sync_bfly_f32(0xffffffff, q, d, 31);
  }
  if (tid % 32 == 0) {
    part[0][tid / 32] = s;
    part[1][tid / 32] = q;
  }
  __nvvm_bar_sync(0);
  s = part[0][0] + part[0][1] + part[0][2] + part[0][3];
  q = part[1][0] + part[1][1] + part[1][2] + part[1][3];
  const float mean = s / length, r = __nvvm_rsqrt_approx_f(q / length - mean * mean + 1e-5f);
  for (int i = tid; i < length; i += 128) out[(long)cta * length + i] = (row[i] - mean) * r;
}

// Softmax over c <= 32 classes, one warp per voxel, and the best class (the lower one of equals).
extern "C" GLOBAL void softmax(const float *in, float *out, int *best, int c) {
  const int lane = tid % 32, voxel = cta * 4 + tid / 32;
  float v = lane < c ? in[(long)voxel * c + lane] : -__builtin_inff();
  float m = v;
  int which = lane;
  for (int d = 16; d; d >>= 1) {
    const float o = __nvvm_shfl_sync_bfly_f32(0xffffffff, m, d, 31);
    const int w = __nvvm_shfl_sync_bfly_i32(0xffffffff, which, d, 31);
    if (o > m || (o == m && w < which)) {
      m = o;
      which = w;
    }
  }
  const float e = __nvvm_ex2_approx_f((v - m) * 1.4426950408889634f);
  float s = e;
  for (int d = 16; d; d >>= 1) s += __nvvm_shfl_sync_bfly_f32(0xffffffff, s, d, 31);
  if (lane < c) out[(long)voxel * c + lane] = e / s;
  if (lane == 0) best[voxel] = which;
}

// Histogram by atomics, of bytes.
extern "C" GLOBAL void histogram(const unsigned char *in, unsigned *bins, int n) {
  SHARED unsigned local[256];
  local[tid] = 0;
  __nvvm_bar_sync(0);
  for (int i = cta * 256 + tid; i < n; i += ncta * 256) __nvvm_atom_add_gen_i((int *)&local[in[i]], 1);
  __nvvm_bar_sync(0);
  if (local[tid]) __nvvm_atom_add_gen_i((int *)&bins[tid], (int)local[tid]);
}

// C = A B^T in bf16 with f32 accumulation: A m x k, B n x k, tile 64 x 64 x 32 per CTA of 128, staged by cp.async, fragments by ldmatrix.
// m, n multiples of 64, k of 32.
extern "C" GLOBAL void gemm_bf16(const unsigned short *a, const unsigned short *b, float *c, int n, int k) {
  SHARED __attribute__((aligned(16))) unsigned short ta[2][64][40], tb[2][64][40];
  const int warp = tid / 32, lane = tid % 32, rows = __nvvm_read_ptx_sreg_ctaid_y() * 64, columns = cta * 64;
  float acc[8][4] = {};
  auto stage = [&](int at, int buffer) {
    for (int i = tid; i < 256; i += 128) {
      const int r = i / 4, q = i % 4 * 8;
      const unsigned da = (unsigned)(unsigned long)(__attribute__((address_space(3))) void *)&ta[buffer][r][q];
      const unsigned db = (unsigned)(unsigned long)(__attribute__((address_space(3))) void *)&tb[buffer][r][q];
      asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(da), "l"(a + (long)(rows + r) * k + at + q) : "memory");
      asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(db), "l"(b + (long)(columns + r) * k + at + q) : "memory");
    }
    asm volatile("cp.async.commit_group;" ::: "memory");
  };
  stage(0, 0);
  for (int at = 0; at < k; at += 32) {
    const int now = at / 32 % 2;
    if (at + 32 < k) {
      stage(at + 32, now ^ 1);
      asm volatile("cp.async.wait_group 1;" ::: "memory");
    } else {
      asm volatile("cp.async.wait_group 0;" ::: "memory");
    }
    __nvvm_bar_sync(0);
#pragma unroll
    for (int kk = 0; kk < 32; kk += 16) {
      unsigned f[4];
      const unsigned pa =
          (unsigned)(unsigned long)(__attribute__((address_space(3))) void *)&ta[now][warp * 16 + lane % 16][kk + lane / 16 * 8];
      asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                   : "=r"(f[0]), "=r"(f[1]), "=r"(f[2]), "=r"(f[3])
                   : "r"(pa)
                   : "memory");
#pragma unroll
      for (int j = 0; j < 8; ++j) {
        unsigned g[2];
        const unsigned pb =
            (unsigned)(unsigned long)(__attribute__((address_space(3))) void *)&tb[now][j * 8 + lane % 8][kk + lane / 8 % 2 * 8];
        asm volatile("ldmatrix.sync.aligned.m8n8.x2.shared.b16 {%0, %1}, [%2];" : "=r"(g[0]), "=r"(g[1]) : "r"(pb) : "memory");
        asm volatile(
            "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
            : "+f"(acc[j][0]), "+f"(acc[j][1]), "+f"(acc[j][2]), "+f"(acc[j][3])
            : "r"(f[0]), "r"(f[1]), "r"(f[2]), "r"(f[3]), "r"(g[0]), "r"(g[1]));
      }
    }
    __nvvm_bar_sync(0);
  }
#pragma unroll
  for (int j = 0; j < 8; ++j)
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const int r = rows + warp * 16 + lane / 4 + i / 2 * 8, q = columns + j * 8 + lane % 4 * 2 + i % 2;
      c[(long)r * n + q] = acc[j][i];
    }
}
