//! Control flow and the instructions in which lanes act together.

mod support;

use support::{STORE, words};

/// Runs `body`, which leaves its result in %r1, with one warp under several schedules.
fn lanes(name: &str, body: &str) -> Vec<u32> {
    let results: Vec<_> =
        (0..4).map(|seed| words(name, &format!("{body}\n{STORE}"), 32, 32, seed).unwrap_or_else(|e| panic!("{e}"))).collect();
    assert!(results.windows(2).all(|w| w[0] == w[1]), "the result depends on the schedule");
    results[0].clone()
}

fn expect(name: &str, body: &str, of: impl Fn(u32) -> u32) {
    assert_eq!(lanes(name, body), (0..32).map(of).collect::<Vec<_>>(), "{body}");
}

#[test]
fn shuffles_of_all_modes() {
    expect("shfl_bfly", "shfl.sync.bfly.b32 %r1, %r0, 5, 0x1f, 0xffffffff;", |l| l ^ 5);
    expect("shfl_up", "shfl.sync.up.b32 %r1, %r0, 3, 0, 0xffffffff;", |l| if l < 3 { l } else { l - 3 });
    expect("shfl_down", "shfl.sync.down.b32 %r1, %r0, 3, 0x1f, 0xffffffff;", |l| if l > 28 { l } else { l + 3 });
    expect("shfl_idx", "shfl.sync.idx.b32 %r1, %r0, 9, 0x1f, 0xffffffff;", |_| 9);
    // Segments of eight lanes: c = (32 − 8) << 8 | 7.
    expect("shfl_segments", "shfl.sync.idx.b32 %r1, %r0, 2, 0x181f, 0xffffffff;", |l| l / 8 * 8 + 2);
    expect("shfl_predicate", "shfl.sync.up.b32 %r2|%p1, %r0, 8, 0x1800, 0xffffffff; selp.u32 %r1, 1, 0, %p1;", |_| 0);
    expect("shfl_down_predicate", "shfl.sync.down.b32 %r2|%p1, %r0, 1, 0x1f, 0xffffffff; selp.u32 %r1, 1, 0, %p1;", |l| u32::from(l < 31));
}

#[test]
fn votes_matches_and_reductions() {
    let odd = "and.b32 %r2, %r0, 1; setp.eq.u32 %p1, %r2, 1;";
    expect("ballot", &format!("{odd} vote.sync.ballot.b32 %r1, %p1, 0xffffffff;"), |_| 0xaaaa_aaaa);
    expect("vote_any", &format!("{odd} vote.sync.any.pred %p2, %p1, 0xffffffff; selp.u32 %r1, 1, 0, %p2;"), |_| 1);
    expect("vote_all", &format!("{odd} vote.sync.all.pred %p2, !%p1, 0xffffffff; selp.u32 %r1, 1, 0, %p2;"), |_| 0);
    expect("vote_uni", "setp.lt.u32 %p1, %r0, 99; vote.sync.uni.pred %p2, %p1, 0xffffffff; selp.u32 %r1, 1, 0, %p2;", |_| 1);
    expect("match_any", &format!("{odd} match.any.sync.b32 %r1, %r2, 0xffffffff;"), |l| if l & 1 == 1 { 0xaaaa_aaaa } else { 0x5555_5555 });
    expect("match_all", "mov.u32 %r2, 7; match.all.sync.b32 %r1|%p1, %r2, 0xffffffff;", |_| 0xffff_ffff);
    expect("redux_add", "redux.sync.add.s32 %r1, %r0, 0xffffffff;", |_| 496);
    expect("redux_max", "redux.sync.max.u32 %r1, %r0, 0xffffffff;", |_| 31);
    expect("redux_xor", "redux.sync.xor.b32 %r1, %r0, 0xffffffff;", |_| 0);
    expect("activemask", "activemask.b32 %r1;", |_| 0xffff_ffff);
}

#[test]
fn special_registers() {
    expect("laneid", "mov.u32 %r1, %laneid;", |l| l);
    expect("lanemask", "mov.u32 %r1, %lanemask_lt;", |l| (1u32 << l) - 1);
    expect("lanemask_ge", "mov.u32 %r1, %lanemask_ge;", |l| u32::MAX << l);
    expect("ntid", "mov.u32 %r2, %ntid.x; mov.u32 %r3, %nctaid.y; mad.lo.u32 %r1, %r2, 10, %r3;", |_| 321);
    expect("clock", "mov.u64 %rd5, %clock64; mov.u64 %rd6, %clock64; setp.gt.u64 %p1, %rd6, %rd5; selp.u32 %r1, 1, 0, %p1;", |_| 1);
}

#[test]
fn branches_loops_and_tables() {
    // Lane l goes round l times: the warp is whole again behind the loop.
    let body = "mov.u32 %r2, 0; mov.u32 %r1, 0;\nL0: setp.ge.u32 %p1, %r2, %r0; @%p1 bra L1;\nadd.u32 %r1, %r1, %r2; add.u32 %r2, %r2, 1; bra.uni L0;\nL1: shfl.sync.bfly.b32 %r1, %r1, 0, 0x1f, 0xffffffff;";
    expect("divergent_loop", body, |l| l * l.saturating_sub(1) / 2);
    let body = "and.b32 %r2, %r0, 3;\nTable: .branchtargets A, B, C, A;\nbrx.idx %r2, Table;\nA: mov.u32 %r1, 10; bra E;\nB: mov.u32 %r1, 20; bra E;\nC: mov.u32 %r1, 30;\nE: bar.warp.sync 0xffffffff;";
    expect("branch_table", body, |l| [10, 20, 30, 10][l as usize & 3]);
    expect("guarded", "mov.u32 %r1, 5; setp.lt.u32 %p1, %r0, 7; @%p1 mov.u32 %r1, 6; @!%p1 add.u32 %r1, %r1, 2;", |l| {
        if l < 7 { 6 } else { 7 }
    });
    // A group of lanes that names only itself.
    let body = "mov.u32 %r1, %r0; setp.lt.u32 %p1, %r0, 16; @!%p1 bra L1; shfl.sync.bfly.b32 %r1, %r0, 1, 0x1f, 0x0000ffff;\nL1: bar.warp.sync 0xffffffff;";
    expect("half_a_warp", body, |l| if l < 16 { l ^ 1 } else { l });
}

#[test]
fn a_lane_that_spins_for_another_of_its_warp_is_served() {
    // Lane 0 waits in a loop that stands before the store it waits for.
    let body = "setp.ne.u32 %p1, %r0, 0; @%p1 bra FIRST;\nbra SPIN;\nFIRST: bra LATER;\nSPIN: ld.volatile.shared.u32 %r2, [clear]; setp.eq.u32 %p2, %r2, 0; @%p2 bra SPIN; bra END;\nLATER: mov.u32 %r3, 1; setp.eq.u32 %p3, %r0, 1; @%p3 atom.shared.add.u32 %r4, [clear], 1;\nEND: mov.u32 %r1, 3;";

    let body =
        format!(".shared .align 4 .u32 clear;\nsetp.eq.u32 %p4, %r0, 0; @%p4 st.volatile.shared.u32 [clear], 0; bar.sync 0;\n{body}");
    expect("starving", &body, |_| 3);
}

#[test]
fn named_barriers_and_reductions_over_a_block() {
    // Warp 0 produces, warp 1 consumes: arrive and sync on barrier 1.
    let body = ".shared .align 4 .b8 box[128];\nmov.u32 %r2, %tid.x; shl.b32 %r3, %r2, 2; and.b32 %r3, %r3, 127; mov.u32 %r4, box; add.u32 %r4, %r4, %r3;\nmov.u32 %r1, 0; setp.ge.u32 %p1, %r2, 32; @%p1 bra USE;\nmul.lo.u32 %r5, %r2, 3; st.shared.u32 [%r4], %r5; bar.arrive 1, 64; bra END;\nUSE: bar.sync 1, 64; ld.shared.u32 %r1, [%r4];\nEND:";
    for seed in 0..5 {
        let got = words("named_barrier", &format!("{body}\n{STORE}"), 64, 64, seed).unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(got[32..], (0..32).map(|l| l * 3).collect::<Vec<u32>>());
        let popc = format!("setp.lt.u32 %p1, %r0, 37; bar.red.popc.u32 %r1, 0, %p1;\n{STORE}");
        assert_eq!(words("bar_popc", &popc, 96, 96, seed).unwrap(), vec![37; 96]);
        let and = format!("setp.lt.u32 %p1, %r0, 95; bar.red.and.pred %p2, 2, %p1; selp.u32 %r1, 1, 0, %p2;\n{STORE}");
        assert_eq!(words("bar_and", &and, 96, 96, seed).unwrap(), vec![0; 96]);
        let or = format!("setp.lt.u32 %p1, %r0, 1; barrier.cta.red.or.aligned.pred %p2, 2, 96, %p1; selp.u32 %r1, 1, 0, %p2;\n{STORE}");
        assert_eq!(words("bar_or", &or, 96, 96, seed).unwrap(), vec![1; 96]);
    }
}
