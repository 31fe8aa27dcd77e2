//! Clusters: boxes that come to several blocks, arrivals at another block's mbarrier, the barrier of a cluster, and what goes wrong there.

mod support;

use kiln_ptx::{Argument, Device, Fault, FaultKind, Swizzle, TensorMap};
use support::{HOPPER, REGISTERS, expect_fault, module, read_u32, upload};

/// Blocks of 64 threads in pairs. Each block brings half of a line of 64 words to both of its pair; each thread doubles a word of it, and
/// the pair's other block is told before either brings the next line to the same place. `out` gets both lines of each block.
const PAIRS: &str = "
.explicitcluster .reqnctapercluster 2 .maxntid 64 {
REGISTERS.shared .align 8 .b64 full;\n.shared .align 8 .b64 free;\n.shared .align 128 .b8 room[256];
mov.b64 %rd1, map; cvta.param.u64 %rd1, %rd1; ld.param.u64 %rd2, [out]; mov.u32 %r0, %tid.x; mov.u32 %r1, %cluster_ctarank; mov.u32 %r2, %ctaid.x;
setp.eq.u32 %p1, %r0, 0; @!%p1 bra MADE;
mbarrier.init.shared::cta.b64 [full], 1; mbarrier.init.shared::cta.b64 [free], 2; fence.mbarrier_init.release.cluster;
MADE: barrier.cluster.arrive.release.aligned; barrier.cluster.wait.acquire.aligned;
mov.u32 %r3, 0; mov.b16 %h0, 3;
AGAIN: and.b32 %r8, %r3, 1; @!%p1 bra BROUGHT;
xor.b32 %r4, %r8, 1; W1: mbarrier.try_wait.parity.acquire.cluster.shared::cta.b64 %p2, [free], %r4; @!%p2 bra W1;
mbarrier.arrive.expect_tx.shared::cta.b64 _, [full], 256;
mul.lo.u32 %r5, %r1, 32; mov.u32 %r6, room; mad.lo.u32 %r6, %r1, 128, %r6; shr.u32 %r11, %r2, 1; mad.lo.u32 %r11, %r11, 2, %r3;
cp.async.bulk.tensor.2d.shared::cluster.global.tile.mbarrier::complete_tx::bytes.multicast::cluster [%r6], [%rd1, {%r5, %r11}], [full], %h0;
BROUGHT: bar.sync 0;
W2: mbarrier.try_wait.parity.shared::cta.b64 %p3, [full], %r8; @!%p3 bra W2;
mov.u32 %r7, room; mad.lo.u32 %r7, %r0, 4, %r7; ld.shared.u32 %r9, [%r7]; add.u32 %r9, %r9, %r9;
mad.lo.u32 %r10, %r2, 2, %r3; mad.lo.u32 %r10, %r10, 64, %r0; mul.wide.u32 %rd3, %r10, 4; add.u64 %rd3, %rd2, %rd3; st.global.u32 [%rd3], %r9;
bar.sync 0;
mov.u32 %r12, free; mov.u32 %r13, 0; mapa.shared::cluster.u32 %r14, %r12, %r13; mov.u32 %r13, 1; mapa.shared::cluster.u32 %r15, %r12, %r13;
@%p1 mbarrier.arrive.release.cluster.shared::cluster.b64 _, [%r14]; @%p1 mbarrier.arrive.release.cluster.shared::cluster.b64 _, [%r15];
add.u32 %r3, %r3, 1; setp.lt.u32 %p4, %r3, 2; @%p4 bra AGAIN;
barrier.cluster.arrive.release.aligned; barrier.cluster.wait.acquire.aligned;
ret;\n}";

fn run(change: &dyn Fn(&str) -> String, blocks: u32, seed: u64) -> Result<(), Fault> {
    let body = change(&PAIRS.replace("REGISTERS", REGISTERS));
    let text = format!("{HOPPER}.visible .entry k(.param .align 64 .b8 map[128], .param .u64 out) {body}");
    let module = module("cluster_pairs", &text);
    let mut device = Device::new();
    device.set_step_limit(200_000);
    let words: Vec<u32> = (0..64 * blocks).map(|i| 1000 + i).collect();
    let address = upload(&mut device, &words[..]);
    let map = TensorMap {
        address,
        element_bytes: 4,
        dims: vec![64, u64::from(blocks)],
        strides: vec![256],
        box_dims: vec![32, 1],
        swizzle: Swizzle::None,
    };
    let out = device.alloc(u64::from(4 * 128 * blocks));
    device.launch(&module, "k", [blocks, 1, 1], [64, 1, 1], 0, &[Argument::TensorMap(map), Argument::U64(out)], seed)?;
    // Pair p has lines 2 p and 2 p + 1, and so does each of its blocks.
    let expected: Vec<u32> = (0..blocks).flat_map(|block| (0..128).map(move |i| 2 * (1000 + block / 2 * 128 + i))).collect();
    assert_eq!(read_u32(&mut device, out, expected.len()), expected);
    Ok(())
}

/// What the first of some schedules that fails says.
fn fails(change: &dyn Fn(&str) -> String) -> Result<(), Fault> {
    (0..40).try_for_each(|seed| run(change, 4, seed))
}

#[test]
fn pairs_bring_to_each_other() {
    for seed in 0..20 {
        run(&str::to_string, 6, seed).unwrap_or_else(|e| panic!("{e}"));
    }
}

#[test]
fn grids_are_whole_clusters() {
    expect_fault(run(&str::to_string, 3, 0), FaultKind::Launch, &["clusters of 2"]);
}

#[test]
fn barriers_are_made_before_others_come_to_them() {
    let change = |text: &str| text.replacen("barrier.cluster.arrive.release.aligned; barrier.cluster.wait.acquire.aligned;", "", 1);
    expect_fault(fails(&change), FaultKind::BadOperand, &["no mbarrier was initialised"]);
}

#[test]
fn blocks_stay_until_nothing_comes_any_more() {
    let change = |text: &str| {
        let (start, end) = text.rsplit_once("barrier.cluster.arrive").expect("it is there");
        format!("{start}ret; barrier.cluster.arrive{end}")
    };
    expect_fault(fails(&change), FaultKind::BadOperand, &["has exited"]);
}

#[test]
fn rooms_of_other_blocks_are_free_before_something_comes_to_them() {
    // One's own block has used it, the other may not have.
    let second = "@%p1 mbarrier.arrive.release.cluster.shared::cluster.b64 _, [%r15];";
    let change =
        |text: &str| text.replacen("[free], 2;", "[free], 1;", 1).replacen("%r13, 0; mapa", "%r13, %r1; mapa", 1).replacen(second, "", 1);
    expect_fault(fails(&change), FaultKind::Race, &["which its threads may still use"]);
}

#[test]
fn there_is_no_block_beyond_the_cluster() {
    let change = |text: &str| text.replacen("mov.u32 %r13, 1; mapa", "mov.u32 %r13, 2; mapa", 1);
    expect_fault(fails(&change), FaultKind::BadOperand, &["rank 2 in a cluster of 2 blocks"]);
}

#[test]
fn a_thread_arrives_before_it_waits() {
    let change = |text: &str| text.replacen("barrier.cluster.arrive.release.aligned;", "", 1);
    expect_fault(fails(&change), FaultKind::BadOperand, &["has not arrived"]);
}

/// Lanes of a warp that come to the barrier of their cluster at different times.
const APART: &str = "
.explicitcluster .reqnctapercluster 2 .maxntid 32 {
REGISTERS
ld.param.u64 %rd2, [out]; mov.u32 %r0, %tid.x; mov.u32 %r2, %ctaid.x; and.b32 %r1, %r0, 1; setp.eq.u32 %p1, %r1, 1; mov.u32 %r3, 0;
@%p1 bra LATE;
MEET: barrier.cluster.arrive.release; barrier.cluster.wait.acquire;
mad.lo.u32 %r4, %r2, 32, %r0; mul.wide.u32 %rd3, %r4, 4; add.u64 %rd3, %rd2, %rd3; st.global.u32 [%rd3], %r3;
ret;
LATE: add.u32 %r3, %r3, 1; setp.lt.u32 %p2, %r3, 50; @%p2 bra LATE;
bra MEET;\n}";

#[test]
fn lanes_that_are_late_are_waited_for() {
    let text = format!("{HOPPER}.visible .entry k(.param .u64 out) {}", APART.replace("REGISTERS", REGISTERS));
    let module = module("cluster_apart", &text);
    for seed in 0..20 {
        let mut device = Device::new();
        device.set_step_limit(200_000);
        let out = device.alloc(4 * 64);
        device.launch(&module, "k", [2, 1, 1], [32, 1, 1], 0, &[Argument::U64(out)], seed).unwrap_or_else(|e| panic!("{e}"));
        let expected: Vec<u32> = (0..64).map(|at| 50 * (at % 2)).collect();
        assert_eq!(read_u32(&mut device, out, 64), expected);
    }
}
