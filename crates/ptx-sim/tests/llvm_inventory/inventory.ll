; What LLVM 22 may emit for the planned kernels, as little as possible of each. The .ptx files beside were made from this file by
;   llc -march=nvptx64 -O3 -mcpu=CPU -mattr=+PTX   with sm_80 ptx80, sm_90a ptx80, sm_100a ptx86, sm_120 ptx87
; It is decoded only: its addresses make no sense.
target triple = "nvptx64-nvidia-cuda"
declare <2 x float> @llvm.fma.v2f32(<2 x float>, <2 x float>, <2 x float>)
declare <2 x bfloat> @llvm.fma.v2bf16(<2 x bfloat>, <2 x bfloat>, <2 x bfloat>)
declare <2 x bfloat> @llvm.maxnum.v2bf16(<2 x bfloat>, <2 x bfloat>)
declare <4 x i8> @llvm.umax.v4i8(<4 x i8>, <4 x i8>)
declare i32 @llvm.fshl.i32(i32, i32, i32)
declare i64 @llvm.fshr.i64(i64, i64, i64)
declare i32 @llvm.bitreverse.i32(i32)
declare i32 @llvm.bswap.i32(i32)
declare i64 @llvm.ctpop.i64(i64)
declare float @llvm.copysign.f32(float, float)
declare float @llvm.floor.f32(float)
declare float @llvm.maximum.f32(float,float)
declare i32 @llvm.sadd.sat.i32(i32,i32)
declare float @llvm.sqrt.f32(float)
declare i32 @llvm.smax.i32(i32,i32)
declare i32 @llvm.nvvm.read.ptx.sreg.tid.x()
declare void @llvm.nvvm.barrier.cta.sync.aligned.all(i32)
declare void @llvm.nvvm.barrier.cta.sync.aligned.count(i32,i32)
declare void @llvm.nvvm.barrier.cta.sync.count(i32,i32)
declare void @llvm.nvvm.bar.warp.sync(i32)
declare void @llvm.nvvm.cp.async.cg.shared.global.16(ptr addrspace(3), ptr addrspace(1))
declare void @llvm.nvvm.cp.async.ca.shared.global.4.s(ptr addrspace(3), ptr addrspace(1), i32)
declare void @llvm.nvvm.cp.async.wait.group(i32)
declare void @llvm.nvvm.cp.async.commit.group()
declare {i32,i32,i32,i32} @llvm.nvvm.ldmatrix.sync.aligned.m8n8.x4.b16.p3(ptr addrspace(3))
declare {float,float,float,float} @llvm.nvvm.mma.m16n8k16.row.col.bf16(i32,i32,i32,i32,i32,i32,float,float,float,float)
declare {float,float,float,float} @llvm.nvvm.mma.m16n8k8.row.col.tf32(i32,i32,i32,i32,i32,i32,float,float,float,float)
declare i1 @llvm.nvvm.vote.any.sync(i32,i1)
declare i32 @llvm.nvvm.redux.sync.add(i32,i32)
@sm = external addrspace(3) global [0 x i8], align 16
@tab = internal addrspace(4) constant [4 x float] [float 1.0, float 2.0, float 3.0, float 4.0]
define ptx_kernel void @k(ptr addrspace(1) %p, ptr addrspace(1) noalias readonly %q, i32 %n) {
  %t = call i32 @llvm.nvvm.read.ptx.sreg.tid.x()
  %o = sext i32 %t to i64
  %a8 = getelementptr <2 x float>, ptr addrspace(1) %p, i64 %o
  %x = load <2 x float>, ptr addrspace(1) %a8
  %y = load <2 x float>, ptr addrspace(1) %q
  %z = call <2 x float> @llvm.fma.v2f32(<2 x float> %x, <2 x float> %y, <2 x float> %x)
  %z2 = fadd <2 x float> %z, %y
  store <2 x float> %z2, ptr addrspace(1) %a8
  %b = load <8 x bfloat>, ptr addrspace(1) %q, align 16
  %b0 = shufflevector <8 x bfloat> %b, <8 x bfloat> %b, <2 x i32> <i32 0, i32 1>
  %b1 = shufflevector <8 x bfloat> %b, <8 x bfloat> %b, <2 x i32> <i32 3, i32 6>
  %c = call <2 x bfloat> @llvm.fma.v2bf16(<2 x bfloat> %b0, <2 x bfloat> %b1, <2 x bfloat> %b0)
  %cm = call <2 x bfloat> @llvm.maxnum.v2bf16(<2 x bfloat> %c, <2 x bfloat> %b1)
  %cc = fcmp ogt <2 x bfloat> %cm, %b0
  %cs = select <2 x i1> %cc, <2 x bfloat> %b1, <2 x bfloat> %cm
  %cf = fpext <2 x bfloat> %cs to <2 x float>
  %cg = fdiv <2 x float> %cf, %z2
  %ch = fptrunc <2 x float> %cg to <2 x bfloat>
  store <2 x bfloat> %ch, ptr addrspace(1) %p, align 4
  %i = load i32, ptr addrspace(1) %q
  %i1 = call i32 @llvm.fshl.i32(i32 %i, i32 %t, i32 %n)
  %i2 = call i32 @llvm.bitreverse.i32(i32 %i1)
  %i3 = call i32 @llvm.bswap.i32(i32 %i2)
  %i4 = call i32 @llvm.sadd.sat.i32(i32 %i3, i32 %n)
  %i5 = call i32 @llvm.smax.i32(i32 %i4, i32 %t)
  %i6 = srem i32 %i5, %n
  %j = sext i32 %i6 to i64
  %j1 = call i64 @llvm.fshr.i64(i64 %j, i64 %o, i64 13)
  %j2 = call i64 @llvm.ctpop.i64(i64 %j1)
  %j3 = udiv i64 %j1, %j2
  store i64 %j3, ptr addrspace(1) %p
  %f = uitofp i64 %j3 to float
  %f1 = call float @llvm.copysign.f32(float %f, float 2.0)
  %f2 = call float @llvm.floor.f32(float %f1)
  %f3 = call float @llvm.sqrt.f32(float %f2)
  %f4 = call float @llvm.maximum.f32(float %f3, float %f)
  %f5 = fptosi float %f4 to i16
  %f6 = trunc i16 %f5 to i8
  store i8 %f6, ptr addrspace(1) %p
  %v = load <4 x i8>, ptr addrspace(1) %q
  %v2 = add <4 x i8> %v, <i8 1, i8 2, i8 3, i8 4>
  store <4 x i8> %v2, ptr addrspace(1) %p
  %g = and i32 %t, 3
  %gp = getelementptr float, ptr addrspace(4) @tab, i32 %g
  %gv = load float, ptr addrspace(4) %gp
  %r0 = atomicrmw fadd ptr addrspace(1) %p, float %gv monotonic
  %r1 = atomicrmw umax ptr addrspace(1) %p, i32 %n syncscope("device") seq_cst
  %r2 = cmpxchg ptr addrspace(1) %p, i32 %n, i32 %t acq_rel monotonic
  %av = load atomic i32, ptr addrspace(1) %p acquire, align 4
  store atomic i32 %av, ptr addrspace(1) %p release, align 4
  fence seq_cst
  %s1 = getelementptr i8, ptr addrspace(3) @sm, i32 %t
  call void @llvm.nvvm.cp.async.cg.shared.global.16(ptr addrspace(3) %s1, ptr addrspace(1) %q)
  call void @llvm.nvvm.cp.async.ca.shared.global.4.s(ptr addrspace(3) %s1, ptr addrspace(1) %q, i32 %n)
  call void @llvm.nvvm.cp.async.commit.group()
  call void @llvm.nvvm.cp.async.wait.group(i32 0)
  call void @llvm.nvvm.barrier.cta.sync.aligned.all(i32 0)
  call void @llvm.nvvm.barrier.cta.sync.aligned.count(i32 1, i32 64)
  call void @llvm.nvvm.barrier.cta.sync.count(i32 2, i32 %n)
  call void @llvm.nvvm.bar.warp.sync(i32 -1)
  %m = call {i32,i32,i32,i32} @llvm.nvvm.ldmatrix.sync.aligned.m8n8.x4.b16.p3(ptr addrspace(3) %s1)
  %m0 = extractvalue {i32,i32,i32,i32} %m, 0
  %m1 = extractvalue {i32,i32,i32,i32} %m, 1
  %mm = call {float,float,float,float} @llvm.nvvm.mma.m16n8k16.row.col.bf16(i32 %m0,i32 %m1,i32 %m0,i32 %m1,i32 %m0,i32 %m0,float %gv,float %gv,float %gv,float 0.0)
  %mx = extractvalue {float,float,float,float} %mm, 0
  %mt = call {float,float,float,float} @llvm.nvvm.mma.m16n8k8.row.col.tf32(i32 %m0,i32 %m1,i32 %m0,i32 %m1,i32 %m0,i32 %m0,float %mx,float %gv,float %gv,float 0.0)
  %my = extractvalue {float,float,float,float} %mt, 1
  store volatile float %my, ptr addrspace(1) %p
  %vv = fcmp ult float %my, %mx
  %va = call i1 @llvm.nvvm.vote.any.sync(i32 -1, i1 %vv)
  br i1 %va, label %A, label %B
A:
  %rr = call i32 @llvm.nvvm.redux.sync.add(i32 %t, i32 -1)
  store i32 %rr, ptr addrspace(1) %p
  br label %B
B:
  ret void
}
