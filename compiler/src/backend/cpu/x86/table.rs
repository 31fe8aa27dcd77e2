//! Vector instructions by vector width and encoding: what instruction selection picks from.
//!
//! A row names one operation and holds its codes for VEX (128, 256 bits) and EVEX (128, 256, 512 bits). A width that an
//! encoding lacks is `INVALID`, and asking for it is a bug of selection.
//! Source: Intel SDM volume 2; names as `iced_x86::Code` spells them.

use iced_x86::Code;

/// Width of a vector operation.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(super) enum Width {
    W128,
    W256,
    W512,
}

/// VEX 128, 256; EVEX 128, 256, 512.
#[derive(Clone, Copy)]
pub(super) struct Row([Code; 5]);

/// VEX, EVEX: operations on one element, or on 128 bits alone.
#[derive(Clone, Copy)]
pub(super) struct ScalarRow([Code; 2]);

impl Row {
    /// The code for a width. Panics where there is none.
    pub(super) fn code(self, evex: bool, width: Width) -> Code {
        let code = self.0[if evex { 2 } else { 0 } + width as usize];
        assert!(code != Code::INVALID && (evex || width != Width::W512), "tile: no such instruction at {width:?}, evex {evex}");
        code
    }
}

impl ScalarRow {
    /// The code. Panics where there is none.
    pub(super) fn code(self, evex: bool) -> Code {
        self.0[usize::from(evex)]
    }
}

pub(super) const ADD_PS: Row = Row([Code::VEX_Vaddps_xmm_xmm_xmmm128, Code::VEX_Vaddps_ymm_ymm_ymmm256, Code::EVEX_Vaddps_xmm_k1z_xmm_xmmm128b32, Code::EVEX_Vaddps_ymm_k1z_ymm_ymmm256b32, Code::EVEX_Vaddps_zmm_k1z_zmm_zmmm512b32_er]);
pub(super) const SUB_PS: Row = Row([Code::VEX_Vsubps_xmm_xmm_xmmm128, Code::VEX_Vsubps_ymm_ymm_ymmm256, Code::EVEX_Vsubps_xmm_k1z_xmm_xmmm128b32, Code::EVEX_Vsubps_ymm_k1z_ymm_ymmm256b32, Code::EVEX_Vsubps_zmm_k1z_zmm_zmmm512b32_er]);
pub(super) const MUL_PS: Row = Row([Code::VEX_Vmulps_xmm_xmm_xmmm128, Code::VEX_Vmulps_ymm_ymm_ymmm256, Code::EVEX_Vmulps_xmm_k1z_xmm_xmmm128b32, Code::EVEX_Vmulps_ymm_k1z_ymm_ymmm256b32, Code::EVEX_Vmulps_zmm_k1z_zmm_zmmm512b32_er]);
pub(super) const DIV_PS: Row = Row([Code::VEX_Vdivps_xmm_xmm_xmmm128, Code::VEX_Vdivps_ymm_ymm_ymmm256, Code::EVEX_Vdivps_xmm_k1z_xmm_xmmm128b32, Code::EVEX_Vdivps_ymm_k1z_ymm_ymmm256b32, Code::EVEX_Vdivps_zmm_k1z_zmm_zmmm512b32_er]);
pub(super) const MIN_PS: Row = Row([Code::VEX_Vminps_xmm_xmm_xmmm128, Code::VEX_Vminps_ymm_ymm_ymmm256, Code::EVEX_Vminps_xmm_k1z_xmm_xmmm128b32, Code::EVEX_Vminps_ymm_k1z_ymm_ymmm256b32, Code::EVEX_Vminps_zmm_k1z_zmm_zmmm512b32_sae]);
pub(super) const MAX_PS: Row = Row([Code::VEX_Vmaxps_xmm_xmm_xmmm128, Code::VEX_Vmaxps_ymm_ymm_ymmm256, Code::EVEX_Vmaxps_xmm_k1z_xmm_xmmm128b32, Code::EVEX_Vmaxps_ymm_k1z_ymm_ymmm256b32, Code::EVEX_Vmaxps_zmm_k1z_zmm_zmmm512b32_sae]);
pub(super) const SCALE_PS: Row = Row([Code::INVALID, Code::INVALID, Code::EVEX_Vscalefps_xmm_k1z_xmm_xmmm128b32, Code::EVEX_Vscalefps_ymm_k1z_ymm_ymmm256b32, Code::EVEX_Vscalefps_zmm_k1z_zmm_zmmm512b32_er]);
pub(super) const SCALE_PD: Row = Row([Code::INVALID, Code::INVALID, Code::EVEX_Vscalefpd_xmm_k1z_xmm_xmmm128b64, Code::EVEX_Vscalefpd_ymm_k1z_ymm_ymmm256b64, Code::EVEX_Vscalefpd_zmm_k1z_zmm_zmmm512b64_er]);
pub(super) const SQRT_PS: Row = Row([Code::VEX_Vsqrtps_xmm_xmmm128, Code::VEX_Vsqrtps_ymm_ymmm256, Code::EVEX_Vsqrtps_xmm_k1z_xmmm128b32, Code::EVEX_Vsqrtps_ymm_k1z_ymmm256b32, Code::EVEX_Vsqrtps_zmm_k1z_zmmm512b32_er]);
pub(super) const AND_PS: Row = Row([Code::VEX_Vandps_xmm_xmm_xmmm128, Code::VEX_Vandps_ymm_ymm_ymmm256, Code::EVEX_Vandps_xmm_k1z_xmm_xmmm128b32, Code::EVEX_Vandps_ymm_k1z_ymm_ymmm256b32, Code::EVEX_Vandps_zmm_k1z_zmm_zmmm512b32]);
pub(super) const OR_PS: Row = Row([Code::VEX_Vorps_xmm_xmm_xmmm128, Code::VEX_Vorps_ymm_ymm_ymmm256, Code::EVEX_Vorps_xmm_k1z_xmm_xmmm128b32, Code::EVEX_Vorps_ymm_k1z_ymm_ymmm256b32, Code::EVEX_Vorps_zmm_k1z_zmm_zmmm512b32]);
pub(super) const XOR_PS: Row = Row([Code::VEX_Vxorps_xmm_xmm_xmmm128, Code::VEX_Vxorps_ymm_ymm_ymmm256, Code::EVEX_Vxorps_xmm_k1z_xmm_xmmm128b32, Code::EVEX_Vxorps_ymm_k1z_ymm_ymmm256b32, Code::EVEX_Vxorps_zmm_k1z_zmm_zmmm512b32]);
pub(super) const FMA231_PS: Row = Row([Code::VEX_Vfmadd231ps_xmm_xmm_xmmm128, Code::VEX_Vfmadd231ps_ymm_ymm_ymmm256, Code::EVEX_Vfmadd231ps_xmm_k1z_xmm_xmmm128b32, Code::EVEX_Vfmadd231ps_ymm_k1z_ymm_ymmm256b32, Code::EVEX_Vfmadd231ps_zmm_k1z_zmm_zmmm512b32_er]);
pub(super) const CMP_PS: Row = Row([Code::VEX_Vcmpps_xmm_xmm_xmmm128_imm8, Code::VEX_Vcmpps_ymm_ymm_ymmm256_imm8, Code::EVEX_Vcmpps_kr_k1_xmm_xmmm128b32_imm8, Code::EVEX_Vcmpps_kr_k1_ymm_ymmm256b32_imm8, Code::EVEX_Vcmpps_kr_k1_zmm_zmmm512b32_imm8_sae]);
pub(super) const BLEND_PS: Row = Row([Code::VEX_Vblendvps_xmm_xmm_xmmm128_xmm, Code::VEX_Vblendvps_ymm_ymm_ymmm256_ymm, Code::EVEX_Vblendmps_xmm_k1z_xmm_xmmm128b32, Code::EVEX_Vblendmps_ymm_k1z_ymm_ymmm256b32, Code::EVEX_Vblendmps_zmm_k1z_zmm_zmmm512b32]);
pub(super) const ROUND_PS: Row = Row([Code::VEX_Vroundps_xmm_xmmm128_imm8, Code::VEX_Vroundps_ymm_ymmm256_imm8, Code::EVEX_Vrndscaleps_xmm_k1z_xmmm128b32_imm8, Code::EVEX_Vrndscaleps_ymm_k1z_ymmm256b32_imm8, Code::EVEX_Vrndscaleps_zmm_k1z_zmmm512b32_imm8_sae]);
pub(super) const ADD_PD: Row = Row([Code::VEX_Vaddpd_xmm_xmm_xmmm128, Code::VEX_Vaddpd_ymm_ymm_ymmm256, Code::EVEX_Vaddpd_xmm_k1z_xmm_xmmm128b64, Code::EVEX_Vaddpd_ymm_k1z_ymm_ymmm256b64, Code::EVEX_Vaddpd_zmm_k1z_zmm_zmmm512b64_er]);
pub(super) const SUB_PD: Row = Row([Code::VEX_Vsubpd_xmm_xmm_xmmm128, Code::VEX_Vsubpd_ymm_ymm_ymmm256, Code::EVEX_Vsubpd_xmm_k1z_xmm_xmmm128b64, Code::EVEX_Vsubpd_ymm_k1z_ymm_ymmm256b64, Code::EVEX_Vsubpd_zmm_k1z_zmm_zmmm512b64_er]);
pub(super) const MUL_PD: Row = Row([Code::VEX_Vmulpd_xmm_xmm_xmmm128, Code::VEX_Vmulpd_ymm_ymm_ymmm256, Code::EVEX_Vmulpd_xmm_k1z_xmm_xmmm128b64, Code::EVEX_Vmulpd_ymm_k1z_ymm_ymmm256b64, Code::EVEX_Vmulpd_zmm_k1z_zmm_zmmm512b64_er]);
pub(super) const DIV_PD: Row = Row([Code::VEX_Vdivpd_xmm_xmm_xmmm128, Code::VEX_Vdivpd_ymm_ymm_ymmm256, Code::EVEX_Vdivpd_xmm_k1z_xmm_xmmm128b64, Code::EVEX_Vdivpd_ymm_k1z_ymm_ymmm256b64, Code::EVEX_Vdivpd_zmm_k1z_zmm_zmmm512b64_er]);
pub(super) const MIN_PD: Row = Row([Code::VEX_Vminpd_xmm_xmm_xmmm128, Code::VEX_Vminpd_ymm_ymm_ymmm256, Code::EVEX_Vminpd_xmm_k1z_xmm_xmmm128b64, Code::EVEX_Vminpd_ymm_k1z_ymm_ymmm256b64, Code::EVEX_Vminpd_zmm_k1z_zmm_zmmm512b64_sae]);
pub(super) const MAX_PD: Row = Row([Code::VEX_Vmaxpd_xmm_xmm_xmmm128, Code::VEX_Vmaxpd_ymm_ymm_ymmm256, Code::EVEX_Vmaxpd_xmm_k1z_xmm_xmmm128b64, Code::EVEX_Vmaxpd_ymm_k1z_ymm_ymmm256b64, Code::EVEX_Vmaxpd_zmm_k1z_zmm_zmmm512b64_sae]);
pub(super) const SQRT_PD: Row = Row([Code::VEX_Vsqrtpd_xmm_xmmm128, Code::VEX_Vsqrtpd_ymm_ymmm256, Code::EVEX_Vsqrtpd_xmm_k1z_xmmm128b64, Code::EVEX_Vsqrtpd_ymm_k1z_ymmm256b64, Code::EVEX_Vsqrtpd_zmm_k1z_zmmm512b64_er]);
pub(super) const AND_PD: Row = Row([Code::VEX_Vandpd_xmm_xmm_xmmm128, Code::VEX_Vandpd_ymm_ymm_ymmm256, Code::EVEX_Vandpd_xmm_k1z_xmm_xmmm128b64, Code::EVEX_Vandpd_ymm_k1z_ymm_ymmm256b64, Code::EVEX_Vandpd_zmm_k1z_zmm_zmmm512b64]);
pub(super) const OR_PD: Row = Row([Code::VEX_Vorpd_xmm_xmm_xmmm128, Code::VEX_Vorpd_ymm_ymm_ymmm256, Code::EVEX_Vorpd_xmm_k1z_xmm_xmmm128b64, Code::EVEX_Vorpd_ymm_k1z_ymm_ymmm256b64, Code::EVEX_Vorpd_zmm_k1z_zmm_zmmm512b64]);
pub(super) const XOR_PD: Row = Row([Code::VEX_Vxorpd_xmm_xmm_xmmm128, Code::VEX_Vxorpd_ymm_ymm_ymmm256, Code::EVEX_Vxorpd_xmm_k1z_xmm_xmmm128b64, Code::EVEX_Vxorpd_ymm_k1z_ymm_ymmm256b64, Code::EVEX_Vxorpd_zmm_k1z_zmm_zmmm512b64]);
pub(super) const FMA231_PD: Row = Row([Code::VEX_Vfmadd231pd_xmm_xmm_xmmm128, Code::VEX_Vfmadd231pd_ymm_ymm_ymmm256, Code::EVEX_Vfmadd231pd_xmm_k1z_xmm_xmmm128b64, Code::EVEX_Vfmadd231pd_ymm_k1z_ymm_ymmm256b64, Code::EVEX_Vfmadd231pd_zmm_k1z_zmm_zmmm512b64_er]);
pub(super) const CMP_PD: Row = Row([Code::VEX_Vcmppd_xmm_xmm_xmmm128_imm8, Code::VEX_Vcmppd_ymm_ymm_ymmm256_imm8, Code::EVEX_Vcmppd_kr_k1_xmm_xmmm128b64_imm8, Code::EVEX_Vcmppd_kr_k1_ymm_ymmm256b64_imm8, Code::EVEX_Vcmppd_kr_k1_zmm_zmmm512b64_imm8_sae]);
pub(super) const BLEND_PD: Row = Row([Code::VEX_Vblendvpd_xmm_xmm_xmmm128_xmm, Code::VEX_Vblendvpd_ymm_ymm_ymmm256_ymm, Code::EVEX_Vblendmpd_xmm_k1z_xmm_xmmm128b64, Code::EVEX_Vblendmpd_ymm_k1z_ymm_ymmm256b64, Code::EVEX_Vblendmpd_zmm_k1z_zmm_zmmm512b64]);
pub(super) const ROUND_PD: Row = Row([Code::VEX_Vroundpd_xmm_xmmm128_imm8, Code::VEX_Vroundpd_ymm_ymmm256_imm8, Code::EVEX_Vrndscalepd_xmm_k1z_xmmm128b64_imm8, Code::EVEX_Vrndscalepd_ymm_k1z_ymmm256b64_imm8, Code::EVEX_Vrndscalepd_zmm_k1z_zmmm512b64_imm8_sae]);
pub(super) const LOAD: Row = Row([Code::VEX_Vmovups_xmm_xmmm128, Code::VEX_Vmovups_ymm_ymmm256, Code::EVEX_Vmovups_xmm_k1z_xmmm128, Code::EVEX_Vmovups_ymm_k1z_ymmm256, Code::EVEX_Vmovups_zmm_k1z_zmmm512]);
pub(super) const STORE: Row = Row([Code::VEX_Vmovups_xmmm128_xmm, Code::VEX_Vmovups_ymmm256_ymm, Code::EVEX_Vmovups_xmmm128_k1z_xmm, Code::EVEX_Vmovups_ymmm256_k1z_ymm, Code::EVEX_Vmovups_zmmm512_k1z_zmm]);
/// Lanes that a mask leaves out are zero, and their memory is not touched.
pub(super) const LOAD_MASKED_32: Row = Row([Code::VEX_Vmaskmovps_xmm_xmm_m128, Code::VEX_Vmaskmovps_ymm_ymm_m256, Code::EVEX_Vmovups_xmm_k1z_xmmm128, Code::EVEX_Vmovups_ymm_k1z_ymmm256, Code::EVEX_Vmovups_zmm_k1z_zmmm512]);
pub(super) const LOAD_MASKED_64: Row = Row([Code::VEX_Vmaskmovpd_xmm_xmm_m128, Code::VEX_Vmaskmovpd_ymm_ymm_m256, Code::EVEX_Vmovupd_xmm_k1z_xmmm128, Code::EVEX_Vmovupd_ymm_k1z_ymmm256, Code::EVEX_Vmovupd_zmm_k1z_zmmm512]);
pub(super) const STORE_MASKED_32: Row = Row([Code::VEX_Vmaskmovps_m128_xmm_xmm, Code::VEX_Vmaskmovps_m256_ymm_ymm, Code::EVEX_Vmovups_xmmm128_k1z_xmm, Code::EVEX_Vmovups_ymmm256_k1z_ymm, Code::EVEX_Vmovups_zmmm512_k1z_zmm]);
pub(super) const STORE_MASKED_64: Row = Row([Code::VEX_Vmaskmovpd_m128_xmm_xmm, Code::VEX_Vmaskmovpd_m256_ymm_ymm, Code::EVEX_Vmovupd_xmmm128_k1z_xmm, Code::EVEX_Vmovupd_ymmm256_k1z_ymm, Code::EVEX_Vmovupd_zmmm512_k1z_zmm]);
pub(super) const SPLAT_MEM_32: Row = Row([Code::VEX_Vbroadcastss_xmm_m32, Code::VEX_Vbroadcastss_ymm_m32, Code::EVEX_Vbroadcastss_xmm_k1z_xmmm32, Code::EVEX_Vbroadcastss_ymm_k1z_xmmm32, Code::EVEX_Vbroadcastss_zmm_k1z_xmmm32]);
pub(super) const SPLAT_32: Row = Row([Code::VEX_Vbroadcastss_xmm_xmm, Code::VEX_Vbroadcastss_ymm_xmm, Code::EVEX_Vbroadcastss_xmm_k1z_xmmm32, Code::EVEX_Vbroadcastss_ymm_k1z_xmmm32, Code::EVEX_Vbroadcastss_zmm_k1z_xmmm32]);
pub(super) const SPLAT_MEM_64: Row = Row([Code::INVALID, Code::VEX_Vbroadcastsd_ymm_m64, Code::INVALID, Code::EVEX_Vbroadcastsd_ymm_k1z_xmmm64, Code::EVEX_Vbroadcastsd_zmm_k1z_xmmm64]);
pub(super) const SPLAT_64: Row = Row([Code::INVALID, Code::VEX_Vbroadcastsd_ymm_xmm, Code::INVALID, Code::EVEX_Vbroadcastsd_ymm_k1z_xmmm64, Code::EVEX_Vbroadcastsd_zmm_k1z_xmmm64]);
pub(super) const SPLAT_MEM_16: Row = Row([Code::VEX_Vpbroadcastw_xmm_xmmm16, Code::VEX_Vpbroadcastw_ymm_xmmm16, Code::EVEX_Vpbroadcastw_xmm_k1z_xmmm16, Code::EVEX_Vpbroadcastw_ymm_k1z_xmmm16, Code::EVEX_Vpbroadcastw_zmm_k1z_xmmm16]);
pub(super) const ADD_D: Row = Row([Code::VEX_Vpaddd_xmm_xmm_xmmm128, Code::VEX_Vpaddd_ymm_ymm_ymmm256, Code::EVEX_Vpaddd_xmm_k1z_xmm_xmmm128b32, Code::EVEX_Vpaddd_ymm_k1z_ymm_ymmm256b32, Code::EVEX_Vpaddd_zmm_k1z_zmm_zmmm512b32]);
pub(super) const SUB_D: Row = Row([Code::VEX_Vpsubd_xmm_xmm_xmmm128, Code::VEX_Vpsubd_ymm_ymm_ymmm256, Code::EVEX_Vpsubd_xmm_k1z_xmm_xmmm128b32, Code::EVEX_Vpsubd_ymm_k1z_ymm_ymmm256b32, Code::EVEX_Vpsubd_zmm_k1z_zmm_zmmm512b32]);
pub(super) const ADD_Q: Row = Row([Code::VEX_Vpaddq_xmm_xmm_xmmm128, Code::VEX_Vpaddq_ymm_ymm_ymmm256, Code::EVEX_Vpaddq_xmm_k1z_xmm_xmmm128b64, Code::EVEX_Vpaddq_ymm_k1z_ymm_ymmm256b64, Code::EVEX_Vpaddq_zmm_k1z_zmm_zmmm512b64]);
pub(super) const SUB_Q: Row = Row([Code::VEX_Vpsubq_xmm_xmm_xmmm128, Code::VEX_Vpsubq_ymm_ymm_ymmm256, Code::EVEX_Vpsubq_xmm_k1z_xmm_xmmm128b64, Code::EVEX_Vpsubq_ymm_k1z_ymm_ymmm256b64, Code::EVEX_Vpsubq_zmm_k1z_zmm_zmmm512b64]);
pub(super) const MUL_D: Row = Row([Code::VEX_Vpmulld_xmm_xmm_xmmm128, Code::VEX_Vpmulld_ymm_ymm_ymmm256, Code::EVEX_Vpmulld_xmm_k1z_xmm_xmmm128b32, Code::EVEX_Vpmulld_ymm_k1z_ymm_ymmm256b32, Code::EVEX_Vpmulld_zmm_k1z_zmm_zmmm512b32]);
pub(super) const MUL_Q: Row = Row([Code::INVALID, Code::INVALID, Code::EVEX_Vpmullq_xmm_k1z_xmm_xmmm128b64, Code::EVEX_Vpmullq_ymm_k1z_ymm_ymmm256b64, Code::EVEX_Vpmullq_zmm_k1z_zmm_zmmm512b64]);
pub(super) const MUL_U_D_Q: Row = Row([Code::VEX_Vpmuludq_xmm_xmm_xmmm128, Code::VEX_Vpmuludq_ymm_ymm_ymmm256, Code::EVEX_Vpmuludq_xmm_k1z_xmm_xmmm128b64, Code::EVEX_Vpmuludq_ymm_k1z_ymm_ymmm256b64, Code::EVEX_Vpmuludq_zmm_k1z_zmm_zmmm512b64]);
pub(super) const AND_INT: Row = Row([Code::VEX_Vpand_xmm_xmm_xmmm128, Code::VEX_Vpand_ymm_ymm_ymmm256, Code::EVEX_Vpandd_xmm_k1z_xmm_xmmm128b32, Code::EVEX_Vpandd_ymm_k1z_ymm_ymmm256b32, Code::EVEX_Vpandd_zmm_k1z_zmm_zmmm512b32]);
pub(super) const OR_INT: Row = Row([Code::VEX_Vpor_xmm_xmm_xmmm128, Code::VEX_Vpor_ymm_ymm_ymmm256, Code::EVEX_Vpord_xmm_k1z_xmm_xmmm128b32, Code::EVEX_Vpord_ymm_k1z_ymm_ymmm256b32, Code::EVEX_Vpord_zmm_k1z_zmm_zmmm512b32]);
pub(super) const XOR_INT: Row = Row([Code::VEX_Vpxor_xmm_xmm_xmmm128, Code::VEX_Vpxor_ymm_ymm_ymmm256, Code::EVEX_Vpxord_xmm_k1z_xmm_xmmm128b32, Code::EVEX_Vpxord_ymm_k1z_ymm_ymmm256b32, Code::EVEX_Vpxord_zmm_k1z_zmm_zmmm512b32]);
pub(super) const SHL_D: Row = Row([Code::VEX_Vpslld_xmm_xmm_imm8, Code::VEX_Vpslld_ymm_ymm_imm8, Code::EVEX_Vpslld_xmm_k1z_xmmm128b32_imm8, Code::EVEX_Vpslld_ymm_k1z_ymmm256b32_imm8, Code::EVEX_Vpslld_zmm_k1z_zmmm512b32_imm8]);
pub(super) const SHL_BY_D: Row = Row([Code::VEX_Vpsllvd_xmm_xmm_xmmm128, Code::VEX_Vpsllvd_ymm_ymm_ymmm256, Code::EVEX_Vpsllvd_xmm_k1z_xmm_xmmm128b32, Code::EVEX_Vpsllvd_ymm_k1z_ymm_ymmm256b32, Code::EVEX_Vpsllvd_zmm_k1z_zmm_zmmm512b32]);
pub(super) const SHR_U_D: Row = Row([Code::VEX_Vpsrld_xmm_xmm_imm8, Code::VEX_Vpsrld_ymm_ymm_imm8, Code::EVEX_Vpsrld_xmm_k1z_xmmm128b32_imm8, Code::EVEX_Vpsrld_ymm_k1z_ymmm256b32_imm8, Code::EVEX_Vpsrld_zmm_k1z_zmmm512b32_imm8]);
pub(super) const SHR_U_BY_D: Row = Row([Code::VEX_Vpsrlvd_xmm_xmm_xmmm128, Code::VEX_Vpsrlvd_ymm_ymm_ymmm256, Code::EVEX_Vpsrlvd_xmm_k1z_xmm_xmmm128b32, Code::EVEX_Vpsrlvd_ymm_k1z_ymm_ymmm256b32, Code::EVEX_Vpsrlvd_zmm_k1z_zmm_zmmm512b32]);
pub(super) const SHR_S_D: Row = Row([Code::VEX_Vpsrad_xmm_xmm_imm8, Code::VEX_Vpsrad_ymm_ymm_imm8, Code::EVEX_Vpsrad_xmm_k1z_xmmm128b32_imm8, Code::EVEX_Vpsrad_ymm_k1z_ymmm256b32_imm8, Code::EVEX_Vpsrad_zmm_k1z_zmmm512b32_imm8]);
pub(super) const SHR_S_BY_D: Row = Row([Code::VEX_Vpsravd_xmm_xmm_xmmm128, Code::VEX_Vpsravd_ymm_ymm_ymmm256, Code::EVEX_Vpsravd_xmm_k1z_xmm_xmmm128b32, Code::EVEX_Vpsravd_ymm_k1z_ymm_ymmm256b32, Code::EVEX_Vpsravd_zmm_k1z_zmm_zmmm512b32]);
pub(super) const MIN_S_D: Row = Row([Code::VEX_Vpminsd_xmm_xmm_xmmm128, Code::VEX_Vpminsd_ymm_ymm_ymmm256, Code::EVEX_Vpminsd_xmm_k1z_xmm_xmmm128b32, Code::EVEX_Vpminsd_ymm_k1z_ymm_ymmm256b32, Code::EVEX_Vpminsd_zmm_k1z_zmm_zmmm512b32]);
pub(super) const MAX_S_D: Row = Row([Code::VEX_Vpmaxsd_xmm_xmm_xmmm128, Code::VEX_Vpmaxsd_ymm_ymm_ymmm256, Code::EVEX_Vpmaxsd_xmm_k1z_xmm_xmmm128b32, Code::EVEX_Vpmaxsd_ymm_k1z_ymm_ymmm256b32, Code::EVEX_Vpmaxsd_zmm_k1z_zmm_zmmm512b32]);
pub(super) const MIN_U_D: Row = Row([Code::VEX_Vpminud_xmm_xmm_xmmm128, Code::VEX_Vpminud_ymm_ymm_ymmm256, Code::EVEX_Vpminud_xmm_k1z_xmm_xmmm128b32, Code::EVEX_Vpminud_ymm_k1z_ymm_ymmm256b32, Code::EVEX_Vpminud_zmm_k1z_zmm_zmmm512b32]);
pub(super) const MAX_U_D: Row = Row([Code::VEX_Vpmaxud_xmm_xmm_xmmm128, Code::VEX_Vpmaxud_ymm_ymm_ymmm256, Code::EVEX_Vpmaxud_xmm_k1z_xmm_xmmm128b32, Code::EVEX_Vpmaxud_ymm_k1z_ymm_ymmm256b32, Code::EVEX_Vpmaxud_zmm_k1z_zmm_zmmm512b32]);
pub(super) const ABS_D: Row = Row([Code::VEX_Vpabsd_xmm_xmmm128, Code::VEX_Vpabsd_ymm_ymmm256, Code::EVEX_Vpabsd_xmm_k1z_xmmm128b32, Code::EVEX_Vpabsd_ymm_k1z_ymmm256b32, Code::EVEX_Vpabsd_zmm_k1z_zmmm512b32]);
pub(super) const CMP_EQ_D: Row = Row([Code::VEX_Vpcmpeqd_xmm_xmm_xmmm128, Code::VEX_Vpcmpeqd_ymm_ymm_ymmm256, Code::INVALID, Code::INVALID, Code::INVALID]);
pub(super) const CMP_GT_D: Row = Row([Code::VEX_Vpcmpgtd_xmm_xmm_xmmm128, Code::VEX_Vpcmpgtd_ymm_ymm_ymmm256, Code::INVALID, Code::INVALID, Code::INVALID]);
pub(super) const CMP_S_D: Row = Row([Code::INVALID, Code::INVALID, Code::EVEX_Vpcmpd_kr_k1_xmm_xmmm128b32_imm8, Code::EVEX_Vpcmpd_kr_k1_ymm_ymmm256b32_imm8, Code::EVEX_Vpcmpd_kr_k1_zmm_zmmm512b32_imm8]);
pub(super) const CMP_U_D: Row = Row([Code::INVALID, Code::INVALID, Code::EVEX_Vpcmpud_kr_k1_xmm_xmmm128b32_imm8, Code::EVEX_Vpcmpud_kr_k1_ymm_ymmm256b32_imm8, Code::EVEX_Vpcmpud_kr_k1_zmm_zmmm512b32_imm8]);
pub(super) const SHL_Q: Row = Row([Code::VEX_Vpsllq_xmm_xmm_imm8, Code::VEX_Vpsllq_ymm_ymm_imm8, Code::EVEX_Vpsllq_xmm_k1z_xmmm128b64_imm8, Code::EVEX_Vpsllq_ymm_k1z_ymmm256b64_imm8, Code::EVEX_Vpsllq_zmm_k1z_zmmm512b64_imm8]);
pub(super) const SHL_BY_Q: Row = Row([Code::VEX_Vpsllvq_xmm_xmm_xmmm128, Code::VEX_Vpsllvq_ymm_ymm_ymmm256, Code::EVEX_Vpsllvq_xmm_k1z_xmm_xmmm128b64, Code::EVEX_Vpsllvq_ymm_k1z_ymm_ymmm256b64, Code::EVEX_Vpsllvq_zmm_k1z_zmm_zmmm512b64]);
pub(super) const SHR_U_Q: Row = Row([Code::VEX_Vpsrlq_xmm_xmm_imm8, Code::VEX_Vpsrlq_ymm_ymm_imm8, Code::EVEX_Vpsrlq_xmm_k1z_xmmm128b64_imm8, Code::EVEX_Vpsrlq_ymm_k1z_ymmm256b64_imm8, Code::EVEX_Vpsrlq_zmm_k1z_zmmm512b64_imm8]);
pub(super) const SHR_U_BY_Q: Row = Row([Code::VEX_Vpsrlvq_xmm_xmm_xmmm128, Code::VEX_Vpsrlvq_ymm_ymm_ymmm256, Code::EVEX_Vpsrlvq_xmm_k1z_xmm_xmmm128b64, Code::EVEX_Vpsrlvq_ymm_k1z_ymm_ymmm256b64, Code::EVEX_Vpsrlvq_zmm_k1z_zmm_zmmm512b64]);
pub(super) const SHR_S_Q: Row = Row([Code::INVALID, Code::INVALID, Code::EVEX_Vpsraq_xmm_k1z_xmmm128b64_imm8, Code::EVEX_Vpsraq_ymm_k1z_ymmm256b64_imm8, Code::EVEX_Vpsraq_zmm_k1z_zmmm512b64_imm8]);
pub(super) const SHR_S_BY_Q: Row = Row([Code::INVALID, Code::INVALID, Code::EVEX_Vpsravq_xmm_k1z_xmm_xmmm128b64, Code::EVEX_Vpsravq_ymm_k1z_ymm_ymmm256b64, Code::EVEX_Vpsravq_zmm_k1z_zmm_zmmm512b64]);
pub(super) const MIN_S_Q: Row = Row([Code::INVALID, Code::INVALID, Code::EVEX_Vpminsq_xmm_k1z_xmm_xmmm128b64, Code::EVEX_Vpminsq_ymm_k1z_ymm_ymmm256b64, Code::EVEX_Vpminsq_zmm_k1z_zmm_zmmm512b64]);
pub(super) const MAX_S_Q: Row = Row([Code::INVALID, Code::INVALID, Code::EVEX_Vpmaxsq_xmm_k1z_xmm_xmmm128b64, Code::EVEX_Vpmaxsq_ymm_k1z_ymm_ymmm256b64, Code::EVEX_Vpmaxsq_zmm_k1z_zmm_zmmm512b64]);
pub(super) const MIN_U_Q: Row = Row([Code::INVALID, Code::INVALID, Code::EVEX_Vpminuq_xmm_k1z_xmm_xmmm128b64, Code::EVEX_Vpminuq_ymm_k1z_ymm_ymmm256b64, Code::EVEX_Vpminuq_zmm_k1z_zmm_zmmm512b64]);
pub(super) const MAX_U_Q: Row = Row([Code::INVALID, Code::INVALID, Code::EVEX_Vpmaxuq_xmm_k1z_xmm_xmmm128b64, Code::EVEX_Vpmaxuq_ymm_k1z_ymm_ymmm256b64, Code::EVEX_Vpmaxuq_zmm_k1z_zmm_zmmm512b64]);
pub(super) const ABS_Q: Row = Row([Code::INVALID, Code::INVALID, Code::EVEX_Vpabsq_xmm_k1z_xmmm128b64, Code::EVEX_Vpabsq_ymm_k1z_ymmm256b64, Code::EVEX_Vpabsq_zmm_k1z_zmmm512b64]);
pub(super) const CMP_EQ_Q: Row = Row([Code::VEX_Vpcmpeqq_xmm_xmm_xmmm128, Code::VEX_Vpcmpeqq_ymm_ymm_ymmm256, Code::INVALID, Code::INVALID, Code::INVALID]);
pub(super) const CMP_GT_Q: Row = Row([Code::VEX_Vpcmpgtq_xmm_xmm_xmmm128, Code::VEX_Vpcmpgtq_ymm_ymm_ymmm256, Code::INVALID, Code::INVALID, Code::INVALID]);
pub(super) const CMP_S_Q: Row = Row([Code::INVALID, Code::INVALID, Code::EVEX_Vpcmpq_kr_k1_xmm_xmmm128b64_imm8, Code::EVEX_Vpcmpq_kr_k1_ymm_ymmm256b64_imm8, Code::EVEX_Vpcmpq_kr_k1_zmm_zmmm512b64_imm8]);
pub(super) const CMP_U_Q: Row = Row([Code::INVALID, Code::INVALID, Code::EVEX_Vpcmpuq_kr_k1_xmm_xmmm128b64_imm8, Code::EVEX_Vpcmpuq_kr_k1_ymm_ymmm256b64_imm8, Code::EVEX_Vpcmpuq_kr_k1_zmm_zmmm512b64_imm8]);
pub(super) const TEST_D: Row = Row([Code::INVALID, Code::INVALID, Code::EVEX_Vptestmd_kr_k1_xmm_xmmm128b32, Code::EVEX_Vptestmd_kr_k1_ymm_ymmm256b32, Code::EVEX_Vptestmd_kr_k1_zmm_zmmm512b32]);
pub(super) const BLEND_D: Row = Row([Code::VEX_Vblendvps_xmm_xmm_xmmm128_xmm, Code::VEX_Vblendvps_ymm_ymm_ymmm256_ymm, Code::EVEX_Vpblendmd_xmm_k1z_xmm_xmmm128b32, Code::EVEX_Vpblendmd_ymm_k1z_ymm_ymmm256b32, Code::EVEX_Vpblendmd_zmm_k1z_zmm_zmmm512b32]);
pub(super) const BLEND_Q: Row = Row([Code::VEX_Vblendvpd_xmm_xmm_xmmm128_xmm, Code::VEX_Vblendvpd_ymm_ymm_ymmm256_ymm, Code::EVEX_Vpblendmq_xmm_k1z_xmm_xmmm128b64, Code::EVEX_Vpblendmq_ymm_k1z_ymm_ymmm256b64, Code::EVEX_Vpblendmq_zmm_k1z_zmm_zmmm512b64]);
pub(super) const I32_TO_F32: Row = Row([Code::VEX_Vcvtdq2ps_xmm_xmmm128, Code::VEX_Vcvtdq2ps_ymm_ymmm256, Code::EVEX_Vcvtdq2ps_xmm_k1z_xmmm128b32, Code::EVEX_Vcvtdq2ps_ymm_k1z_ymmm256b32, Code::EVEX_Vcvtdq2ps_zmm_k1z_zmmm512b32_er]);
pub(super) const F32_TO_I32: Row = Row([Code::VEX_Vcvttps2dq_xmm_xmmm128, Code::VEX_Vcvttps2dq_ymm_ymmm256, Code::EVEX_Vcvttps2dq_xmm_k1z_xmmm128b32, Code::EVEX_Vcvttps2dq_ymm_k1z_ymmm256b32, Code::EVEX_Vcvttps2dq_zmm_k1z_zmmm512b32_sae]);
pub(super) const I32_TO_F64: Row = Row([Code::VEX_Vcvtdq2pd_xmm_xmmm64, Code::VEX_Vcvtdq2pd_ymm_xmmm128, Code::EVEX_Vcvtdq2pd_xmm_k1z_xmmm64b32, Code::EVEX_Vcvtdq2pd_ymm_k1z_xmmm128b32, Code::EVEX_Vcvtdq2pd_zmm_k1z_ymmm256b32_er]);
pub(super) const F32_TO_F64: Row = Row([Code::VEX_Vcvtps2pd_xmm_xmmm64, Code::VEX_Vcvtps2pd_ymm_xmmm128, Code::EVEX_Vcvtps2pd_xmm_k1z_xmmm64b32, Code::EVEX_Vcvtps2pd_ymm_k1z_xmmm128b32, Code::EVEX_Vcvtps2pd_zmm_k1z_ymmm256b32_sae]);
pub(super) const F64_TO_F32: Row = Row([Code::VEX_Vcvtpd2ps_xmm_xmmm128, Code::VEX_Vcvtpd2ps_xmm_ymmm256, Code::EVEX_Vcvtpd2ps_xmm_k1z_xmmm128b64, Code::EVEX_Vcvtpd2ps_xmm_k1z_ymmm256b64, Code::EVEX_Vcvtpd2ps_ymm_k1z_zmmm512b64_er]);
pub(super) const F16_TO_F32: Row = Row([Code::VEX_Vcvtph2ps_xmm_xmmm64, Code::VEX_Vcvtph2ps_ymm_xmmm128, Code::EVEX_Vcvtph2ps_xmm_k1z_xmmm64, Code::EVEX_Vcvtph2ps_ymm_k1z_xmmm128, Code::EVEX_Vcvtph2ps_zmm_k1z_ymmm256_sae]);
pub(super) const F32_TO_F16: Row = Row([Code::VEX_Vcvtps2ph_xmmm64_xmm_imm8, Code::VEX_Vcvtps2ph_xmmm128_ymm_imm8, Code::EVEX_Vcvtps2ph_xmmm64_k1z_xmm_imm8, Code::EVEX_Vcvtps2ph_xmmm128_k1z_ymm_imm8, Code::EVEX_Vcvtps2ph_ymmm256_k1z_zmm_imm8_sae]);
pub(super) const EXTEND_S_D_Q: Row = Row([Code::VEX_Vpmovsxdq_xmm_xmmm64, Code::VEX_Vpmovsxdq_ymm_xmmm128, Code::EVEX_Vpmovsxdq_xmm_k1z_xmmm64, Code::EVEX_Vpmovsxdq_ymm_k1z_xmmm128, Code::EVEX_Vpmovsxdq_zmm_k1z_ymmm256]);
pub(super) const EXTEND_S_W_D: Row = Row([Code::VEX_Vpmovsxwd_xmm_xmmm64, Code::VEX_Vpmovsxwd_ymm_xmmm128, Code::EVEX_Vpmovsxwd_xmm_k1z_xmmm64, Code::EVEX_Vpmovsxwd_ymm_k1z_xmmm128, Code::EVEX_Vpmovsxwd_zmm_k1z_ymmm256]);
pub(super) const EXTEND_S_W_Q: Row = Row([Code::VEX_Vpmovsxwq_xmm_xmmm32, Code::VEX_Vpmovsxwq_ymm_xmmm64, Code::EVEX_Vpmovsxwq_xmm_k1z_xmmm32, Code::EVEX_Vpmovsxwq_ymm_k1z_xmmm64, Code::EVEX_Vpmovsxwq_zmm_k1z_xmmm128]);
pub(super) const EXTEND_S_B_D: Row = Row([Code::VEX_Vpmovsxbd_xmm_xmmm32, Code::VEX_Vpmovsxbd_ymm_xmmm64, Code::EVEX_Vpmovsxbd_xmm_k1z_xmmm32, Code::EVEX_Vpmovsxbd_ymm_k1z_xmmm64, Code::EVEX_Vpmovsxbd_zmm_k1z_xmmm128]);
pub(super) const EXTEND_S_B_Q: Row = Row([Code::VEX_Vpmovsxbq_xmm_xmmm16, Code::VEX_Vpmovsxbq_ymm_xmmm32, Code::EVEX_Vpmovsxbq_xmm_k1z_xmmm16, Code::EVEX_Vpmovsxbq_ymm_k1z_xmmm32, Code::EVEX_Vpmovsxbq_zmm_k1z_xmmm64]);
pub(super) const EXTEND_U_D_Q: Row = Row([Code::VEX_Vpmovzxdq_xmm_xmmm64, Code::VEX_Vpmovzxdq_ymm_xmmm128, Code::EVEX_Vpmovzxdq_xmm_k1z_xmmm64, Code::EVEX_Vpmovzxdq_ymm_k1z_xmmm128, Code::EVEX_Vpmovzxdq_zmm_k1z_ymmm256]);
pub(super) const EXTEND_U_W_D: Row = Row([Code::VEX_Vpmovzxwd_xmm_xmmm64, Code::VEX_Vpmovzxwd_ymm_xmmm128, Code::EVEX_Vpmovzxwd_xmm_k1z_xmmm64, Code::EVEX_Vpmovzxwd_ymm_k1z_xmmm128, Code::EVEX_Vpmovzxwd_zmm_k1z_ymmm256]);
pub(super) const EXTEND_U_W_Q: Row = Row([Code::VEX_Vpmovzxwq_xmm_xmmm32, Code::VEX_Vpmovzxwq_ymm_xmmm64, Code::EVEX_Vpmovzxwq_xmm_k1z_xmmm32, Code::EVEX_Vpmovzxwq_ymm_k1z_xmmm64, Code::EVEX_Vpmovzxwq_zmm_k1z_xmmm128]);
pub(super) const EXTEND_U_B_D: Row = Row([Code::VEX_Vpmovzxbd_xmm_xmmm32, Code::VEX_Vpmovzxbd_ymm_xmmm64, Code::EVEX_Vpmovzxbd_xmm_k1z_xmmm32, Code::EVEX_Vpmovzxbd_ymm_k1z_xmmm64, Code::EVEX_Vpmovzxbd_zmm_k1z_xmmm128]);
pub(super) const EXTEND_U_B_Q: Row = Row([Code::VEX_Vpmovzxbq_xmm_xmmm16, Code::VEX_Vpmovzxbq_ymm_xmmm32, Code::EVEX_Vpmovzxbq_xmm_k1z_xmmm16, Code::EVEX_Vpmovzxbq_ymm_k1z_xmmm32, Code::EVEX_Vpmovzxbq_zmm_k1z_xmmm64]);
pub(super) const WRAP_Q_D: Row = Row([Code::INVALID, Code::INVALID, Code::EVEX_Vpmovqd_xmmm64_k1z_xmm, Code::EVEX_Vpmovqd_xmmm128_k1z_ymm, Code::EVEX_Vpmovqd_ymmm256_k1z_zmm]);
pub(super) const WRAP_D_W: Row = Row([Code::INVALID, Code::INVALID, Code::EVEX_Vpmovdw_xmmm64_k1z_xmm, Code::EVEX_Vpmovdw_xmmm128_k1z_ymm, Code::EVEX_Vpmovdw_ymmm256_k1z_zmm]);
pub(super) const WRAP_D_B: Row = Row([Code::INVALID, Code::INVALID, Code::EVEX_Vpmovdb_xmmm32_k1z_xmm, Code::EVEX_Vpmovdb_xmmm64_k1z_ymm, Code::EVEX_Vpmovdb_xmmm128_k1z_zmm]);
pub(super) const PACK_U_D_W: Row = Row([Code::VEX_Vpackusdw_xmm_xmm_xmmm128, Code::VEX_Vpackusdw_ymm_ymm_ymmm256, Code::INVALID, Code::INVALID, Code::INVALID]);
pub(super) const PACK_U_W_B: Row = Row([Code::VEX_Vpackuswb_xmm_xmm_xmmm128, Code::INVALID, Code::INVALID, Code::INVALID, Code::INVALID]);
pub(super) const SHUFFLE_32: Row = Row([Code::VEX_Vshufps_xmm_xmm_xmmm128_imm8, Code::VEX_Vshufps_ymm_ymm_ymmm256_imm8, Code::EVEX_Vshufps_xmm_k1z_xmm_xmmm128b32_imm8, Code::EVEX_Vshufps_ymm_k1z_ymm_ymmm256b32_imm8, Code::EVEX_Vshufps_zmm_k1z_zmm_zmmm512b32_imm8]);
pub(super) const SHUFFLE_64: Row = Row([Code::VEX_Vshufpd_xmm_xmm_xmmm128_imm8, Code::VEX_Vshufpd_ymm_ymm_ymmm256_imm8, Code::EVEX_Vshufpd_xmm_k1z_xmm_xmmm128b64_imm8, Code::EVEX_Vshufpd_ymm_k1z_ymm_ymmm256b64_imm8, Code::EVEX_Vshufpd_zmm_k1z_zmm_zmmm512b64_imm8]);
pub(super) const SHUFFLE_IN_32: Row = Row([Code::VEX_Vpshufd_xmm_xmmm128_imm8, Code::VEX_Vpshufd_ymm_ymmm256_imm8, Code::EVEX_Vpshufd_xmm_k1z_xmmm128b32_imm8, Code::EVEX_Vpshufd_ymm_k1z_ymmm256b32_imm8, Code::EVEX_Vpshufd_zmm_k1z_zmmm512b32_imm8]);
pub(super) const PERMUTE_64: Row = Row([Code::INVALID, Code::VEX_Vpermq_ymm_ymmm256_imm8, Code::INVALID, Code::EVEX_Vpermq_ymm_k1z_ymmm256b64_imm8, Code::EVEX_Vpermq_zmm_k1z_zmmm512b64_imm8]);
pub(super) const TAKE_128: Row = Row([Code::INVALID, Code::VEX_Vextractf128_xmmm128_ymm_imm8, Code::INVALID, Code::EVEX_Vextractf32x4_xmmm128_k1z_ymm_imm8, Code::EVEX_Vextractf32x4_xmmm128_k1z_zmm_imm8]);
pub(super) const PUT_128: Row = Row([Code::INVALID, Code::VEX_Vinsertf128_ymm_ymm_xmmm128_imm8, Code::INVALID, Code::EVEX_Vinsertf32x4_ymm_k1z_ymm_xmmm128_imm8, Code::EVEX_Vinsertf32x4_zmm_k1z_zmm_xmmm128_imm8]);
pub(super) const TAKE_256: Row = Row([Code::INVALID, Code::INVALID, Code::INVALID, Code::INVALID, Code::EVEX_Vextractf64x4_ymmm256_k1z_zmm_imm8]);
pub(super) const PUT_256: Row = Row([Code::INVALID, Code::INVALID, Code::INVALID, Code::INVALID, Code::EVEX_Vinsertf64x4_zmm_k1z_zmm_ymmm256_imm8]);
pub(super) const UNPACK_LOW_32: Row = Row([Code::VEX_Vunpcklps_xmm_xmm_xmmm128, Code::VEX_Vunpcklps_ymm_ymm_ymmm256, Code::EVEX_Vunpcklps_xmm_k1z_xmm_xmmm128b32, Code::EVEX_Vunpcklps_ymm_k1z_ymm_ymmm256b32, Code::EVEX_Vunpcklps_zmm_k1z_zmm_zmmm512b32]);
pub(super) const UNPACK_HIGH_32: Row = Row([Code::VEX_Vunpckhps_xmm_xmm_xmmm128, Code::VEX_Vunpckhps_ymm_ymm_ymmm256, Code::EVEX_Vunpckhps_xmm_k1z_xmm_xmmm128b32, Code::EVEX_Vunpckhps_ymm_k1z_ymm_ymmm256b32, Code::EVEX_Vunpckhps_zmm_k1z_zmm_zmmm512b32]);
pub(super) const UNPACK_HIGH_64: Row = Row([Code::VEX_Vpunpckhqdq_xmm_xmm_xmmm128, Code::VEX_Vpunpckhqdq_ymm_ymm_ymmm256, Code::EVEX_Vpunpckhqdq_xmm_k1z_xmm_xmmm128b64, Code::EVEX_Vpunpckhqdq_ymm_k1z_ymm_ymmm256b64, Code::EVEX_Vpunpckhqdq_zmm_k1z_zmm_zmmm512b64]);
pub(super) const SHUFFLE_128: Row = Row([Code::INVALID, Code::VEX_Vperm2f128_ymm_ymm_ymmm256_imm8, Code::INVALID, Code::EVEX_Vshuff32x4_ymm_k1z_ymm_ymmm256b32_imm8, Code::EVEX_Vshuff32x4_zmm_k1z_zmm_zmmm512b32_imm8]);
pub(super) const UNPACK_LOW_64: Row = Row([Code::VEX_Vpunpcklqdq_xmm_xmm_xmmm128, Code::VEX_Vpunpcklqdq_ymm_ymm_ymmm256, Code::EVEX_Vpunpcklqdq_xmm_k1z_xmm_xmmm128b64, Code::EVEX_Vpunpcklqdq_ymm_k1z_ymm_ymmm256b64, Code::EVEX_Vpunpcklqdq_zmm_k1z_zmm_zmmm512b64]);

pub(super) const ADD_SS: ScalarRow = ScalarRow([Code::VEX_Vaddss_xmm_xmm_xmmm32, Code::EVEX_Vaddss_xmm_k1z_xmm_xmmm32_er]);
pub(super) const SUB_SS: ScalarRow = ScalarRow([Code::VEX_Vsubss_xmm_xmm_xmmm32, Code::EVEX_Vsubss_xmm_k1z_xmm_xmmm32_er]);
pub(super) const MUL_SS: ScalarRow = ScalarRow([Code::VEX_Vmulss_xmm_xmm_xmmm32, Code::EVEX_Vmulss_xmm_k1z_xmm_xmmm32_er]);
pub(super) const DIV_SS: ScalarRow = ScalarRow([Code::VEX_Vdivss_xmm_xmm_xmmm32, Code::EVEX_Vdivss_xmm_k1z_xmm_xmmm32_er]);
pub(super) const MIN_SS: ScalarRow = ScalarRow([Code::VEX_Vminss_xmm_xmm_xmmm32, Code::EVEX_Vminss_xmm_k1z_xmm_xmmm32_sae]);
pub(super) const MAX_SS: ScalarRow = ScalarRow([Code::VEX_Vmaxss_xmm_xmm_xmmm32, Code::EVEX_Vmaxss_xmm_k1z_xmm_xmmm32_sae]);
pub(super) const SCALE_SS: ScalarRow = ScalarRow([Code::INVALID, Code::EVEX_Vscalefss_xmm_k1z_xmm_xmmm32_er]);
pub(super) const SCALE_SD: ScalarRow = ScalarRow([Code::INVALID, Code::EVEX_Vscalefsd_xmm_k1z_xmm_xmmm64_er]);
pub(super) const SQRT_SS: ScalarRow = ScalarRow([Code::VEX_Vsqrtss_xmm_xmm_xmmm32, Code::EVEX_Vsqrtss_xmm_k1z_xmm_xmmm32_er]);
pub(super) const FMA231_SS: ScalarRow = ScalarRow([Code::VEX_Vfmadd231ss_xmm_xmm_xmmm32, Code::EVEX_Vfmadd231ss_xmm_k1z_xmm_xmmm32_er]);
pub(super) const ROUND_SS: ScalarRow = ScalarRow([Code::VEX_Vroundss_xmm_xmm_xmmm32_imm8, Code::EVEX_Vrndscaless_xmm_k1z_xmm_xmmm32_imm8_sae]);
pub(super) const COMPARE_SS: ScalarRow = ScalarRow([Code::VEX_Vucomiss_xmm_xmmm32, Code::EVEX_Vucomiss_xmm_xmmm32_sae]);
pub(super) const LOAD_SS: ScalarRow = ScalarRow([Code::VEX_Vmovss_xmm_m32, Code::EVEX_Vmovss_xmm_k1z_m32]);
pub(super) const STORE_SS: ScalarRow = ScalarRow([Code::VEX_Vmovss_m32_xmm, Code::EVEX_Vmovss_m32_k1_xmm]);
pub(super) const I32_TO_SS: ScalarRow = ScalarRow([Code::VEX_Vcvtsi2ss_xmm_xmm_rm32, Code::EVEX_Vcvtsi2ss_xmm_xmm_rm32_er]);
pub(super) const SS_TO_I32: ScalarRow = ScalarRow([Code::VEX_Vcvttss2si_r32_xmmm32, Code::EVEX_Vcvttss2si_r32_xmmm32_sae]);
pub(super) const I64_TO_SS: ScalarRow = ScalarRow([Code::VEX_Vcvtsi2ss_xmm_xmm_rm64, Code::EVEX_Vcvtsi2ss_xmm_xmm_rm64_er]);
pub(super) const SS_TO_I64: ScalarRow = ScalarRow([Code::VEX_Vcvttss2si_r64_xmmm32, Code::EVEX_Vcvttss2si_r64_xmmm32_sae]);
pub(super) const ADD_SD: ScalarRow = ScalarRow([Code::VEX_Vaddsd_xmm_xmm_xmmm64, Code::EVEX_Vaddsd_xmm_k1z_xmm_xmmm64_er]);
pub(super) const SUB_SD: ScalarRow = ScalarRow([Code::VEX_Vsubsd_xmm_xmm_xmmm64, Code::EVEX_Vsubsd_xmm_k1z_xmm_xmmm64_er]);
pub(super) const MUL_SD: ScalarRow = ScalarRow([Code::VEX_Vmulsd_xmm_xmm_xmmm64, Code::EVEX_Vmulsd_xmm_k1z_xmm_xmmm64_er]);
pub(super) const DIV_SD: ScalarRow = ScalarRow([Code::VEX_Vdivsd_xmm_xmm_xmmm64, Code::EVEX_Vdivsd_xmm_k1z_xmm_xmmm64_er]);
pub(super) const MIN_SD: ScalarRow = ScalarRow([Code::VEX_Vminsd_xmm_xmm_xmmm64, Code::EVEX_Vminsd_xmm_k1z_xmm_xmmm64_sae]);
pub(super) const MAX_SD: ScalarRow = ScalarRow([Code::VEX_Vmaxsd_xmm_xmm_xmmm64, Code::EVEX_Vmaxsd_xmm_k1z_xmm_xmmm64_sae]);
pub(super) const SQRT_SD: ScalarRow = ScalarRow([Code::VEX_Vsqrtsd_xmm_xmm_xmmm64, Code::EVEX_Vsqrtsd_xmm_k1z_xmm_xmmm64_er]);
pub(super) const FMA231_SD: ScalarRow = ScalarRow([Code::VEX_Vfmadd231sd_xmm_xmm_xmmm64, Code::EVEX_Vfmadd231sd_xmm_k1z_xmm_xmmm64_er]);
pub(super) const ROUND_SD: ScalarRow = ScalarRow([Code::VEX_Vroundsd_xmm_xmm_xmmm64_imm8, Code::EVEX_Vrndscalesd_xmm_k1z_xmm_xmmm64_imm8_sae]);
pub(super) const COMPARE_SD: ScalarRow = ScalarRow([Code::VEX_Vucomisd_xmm_xmmm64, Code::EVEX_Vucomisd_xmm_xmmm64_sae]);
pub(super) const LOAD_SD: ScalarRow = ScalarRow([Code::VEX_Vmovsd_xmm_m64, Code::EVEX_Vmovsd_xmm_k1z_m64]);
pub(super) const STORE_SD: ScalarRow = ScalarRow([Code::VEX_Vmovsd_m64_xmm, Code::EVEX_Vmovsd_m64_k1_xmm]);
pub(super) const I32_TO_SD: ScalarRow = ScalarRow([Code::VEX_Vcvtsi2sd_xmm_xmm_rm32, Code::EVEX_Vcvtsi2sd_xmm_xmm_rm32_er]);
pub(super) const SD_TO_I32: ScalarRow = ScalarRow([Code::VEX_Vcvttsd2si_r32_xmmm64, Code::EVEX_Vcvttsd2si_r32_xmmm64_sae]);
pub(super) const I64_TO_SD: ScalarRow = ScalarRow([Code::VEX_Vcvtsi2sd_xmm_xmm_rm64, Code::EVEX_Vcvtsi2sd_xmm_xmm_rm64_er]);
pub(super) const SD_TO_I64: ScalarRow = ScalarRow([Code::VEX_Vcvttsd2si_r64_xmmm64, Code::EVEX_Vcvttsd2si_r64_xmmm64_sae]);
pub(super) const SS_TO_SD: ScalarRow = ScalarRow([Code::VEX_Vcvtss2sd_xmm_xmm_xmmm32, Code::EVEX_Vcvtss2sd_xmm_k1z_xmm_xmmm32_sae]);
pub(super) const SD_TO_SS: ScalarRow = ScalarRow([Code::VEX_Vcvtsd2ss_xmm_xmm_xmmm64, Code::EVEX_Vcvtsd2ss_xmm_k1z_xmm_xmmm64_er]);
pub(super) const INT32_TO_VECTOR: ScalarRow = ScalarRow([Code::VEX_Vmovd_xmm_rm32, Code::EVEX_Vmovd_xmm_rm32]);
pub(super) const VECTOR_TO_INT32: ScalarRow = ScalarRow([Code::VEX_Vmovd_rm32_xmm, Code::EVEX_Vmovd_rm32_xmm]);
pub(super) const INT64_TO_VECTOR: ScalarRow = ScalarRow([Code::VEX_Vmovq_xmm_rm64, Code::EVEX_Vmovq_xmm_rm64]);
pub(super) const VECTOR_TO_INT64: ScalarRow = ScalarRow([Code::VEX_Vmovq_rm64_xmm, Code::EVEX_Vmovq_rm64_xmm]);
pub(super) const INSERT_F32: ScalarRow = ScalarRow([Code::VEX_Vinsertps_xmm_xmm_xmmm32_imm8, Code::EVEX_Vinsertps_xmm_xmm_xmmm32_imm8]);
pub(super) const LOAD_HIGH_64: ScalarRow = ScalarRow([Code::VEX_Vmovhps_xmm_xmm_m64, Code::EVEX_Vmovhps_xmm_xmm_m64]);
pub(super) const EXTRACT_I32: ScalarRow = ScalarRow([Code::VEX_Vpextrd_rm32_xmm_imm8, Code::EVEX_Vpextrd_rm32_xmm_imm8]);
pub(super) const EXTRACT_I64: ScalarRow = ScalarRow([Code::VEX_Vpextrq_rm64_xmm_imm8, Code::EVEX_Vpextrq_rm64_xmm_imm8]);
pub(super) const INSERT_I32: ScalarRow = ScalarRow([Code::VEX_Vpinsrd_xmm_xmm_rm32_imm8, Code::EVEX_Vpinsrd_xmm_xmm_rm32_imm8]);
pub(super) const INSERT_I64: ScalarRow = ScalarRow([Code::VEX_Vpinsrq_xmm_xmm_rm64_imm8, Code::EVEX_Vpinsrq_xmm_xmm_rm64_imm8]);
pub(super) const EXTRACT_I16: ScalarRow = ScalarRow([Code::VEX_Vpextrw_r32m16_xmm_imm8, Code::EVEX_Vpextrw_r32m16_xmm_imm8]);
pub(super) const INSERT_I16: ScalarRow = ScalarRow([Code::VEX_Vpinsrw_xmm_xmm_r32m16_imm8, Code::EVEX_Vpinsrw_xmm_xmm_r32m16_imm8]);
