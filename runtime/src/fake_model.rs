//! A model written by hand, for tests: what the compiler would emit for `p = x / Σ x` per picture.

use kiln_ir::DType;
use kiln_ir::artifact::{
    ABI_VERSION, ALIGNMENT, Call, Extent, Kernel, ModelDescriptor, Pool, Signature, Status, SymbolDecl, TensorDecl, WeightsDecl,
    WeightsLocation,
};
use std::ffi::c_void;
use std::ptr;

/// A signature of these inputs and outputs; -1 stands for a symbol of its own, named after its position.
pub(crate) fn signature(inputs: &[(&str, DType, &[i64])], outputs: &[(&str, DType, &[i64])]) -> Signature {
    let mut symbols = Vec::new();
    let mut tensor = |&(name, dtype, shape): &(&str, DType, &[i64])| TensorDecl {
        name: name.to_owned(),
        dtype,
        shape: (shape.iter())
            .map(|&n| match n {
                -1 => {
                    let name = format!("s{}", symbols.len());
                    symbols.push(SymbolDecl { name: name.clone(), min: 0, max: None });
                    Extent::Expression(name)
                }
                n => Extent::Fixed(n),
            })
            .collect(),
    };
    let inputs = inputs.iter().map(&mut tensor).collect();
    let outputs = outputs.iter().map(&mut tensor).collect();
    Signature {
        abi_version: ABI_VERSION,
        name: "fake".to_owned(),
        compiler: "kiln test".to_owned(),
        model_sha256: String::new(),
        cpu: Vec::new(),
        symbols,
        inputs,
        outputs,
        guards: Vec::new(),
        nodes: Vec::new(),
        weights: WeightsDecl { bytes: 0, sha256: String::new(), location: WeightsLocation::Embedded },
        data_dependent: false,
        flops: None,
        labels: None,
        image: None,
        audio: None,
        ctc: None,
        text: None,
        scores: None,
        states: 0,
    }
}

/// `x: f32[batch, 1, 2, 2]` → `p: f32[batch, 4]`, `total: f32[batch]`, for up to 100 pictures.
///
/// Batch 13 violates its guard; a negative element is an index out of range in its node.
pub(crate) fn classifier() -> Signature {
    let mut signature = signature(&[("x", DType::F32, &[-1, 1, 2, 2])], &[]);
    signature.symbols = vec![SymbolDecl { name: "batch".to_owned(), min: 1, max: Some(100) }];
    let batch = || Extent::Expression("batch".to_owned());
    signature.inputs[0].shape[0] = batch();
    signature.outputs = vec![
        TensorDecl { name: "p".to_owned(), dtype: DType::F32, shape: vec![batch(), Extent::Fixed(4)] },
        TensorDecl { name: "total".to_owned(), dtype: DType::F32, shape: vec![batch()] },
    ];
    signature.guards = vec!["batch != 13".to_owned()];
    signature.nodes = vec!["lookup".to_owned()];
    signature.flops = Some(Extent::Fixed(8));
    signature
}

/// The classifier, ready to be loaded.
pub(crate) fn descriptor() -> ModelDescriptor {
    describe(&classifier())
}

/// The classifier's functions under another signature; inputs and outputs must have its shapes.
pub(crate) fn describe(signature: &Signature) -> ModelDescriptor {
    let json = serde_json::to_vec(signature).expect("plain data").leak();
    ModelDescriptor {
        abi_version: ABI_VERSION,
        flags: 0,
        signature: json.as_ptr(),
        signature_bytes: json.len() as u64,
        weights: ptr::null(),
        weights_bytes: 0,
        predict,
        arena_bytes,
        output_shapes,
    }
}

unsafe extern "C" fn arena_bytes(dims: *const i64, threads: i64, bytes: *mut i64) -> i32 {
    // SAFETY: the runtime passes one symbol and a place for the answer.
    unsafe { *bytes = *dims * 16 + threads * ALIGNMENT as i64 };
    Status::Ok.code()
}

unsafe extern "C" fn output_shapes(dims: *const i64, shapes: *mut i64) -> i32 {
    // SAFETY: the runtime passes one symbol and places for three dims.
    unsafe {
        *shapes = *dims;
        *shapes.add(1) = 4;
        *shapes.add(2) = *dims;
    }
    Status::Ok.code()
}

unsafe extern "C" fn predict(call: *const Call) -> i32 {
    // SAFETY: the runtime passes a whole call whose buffers have the sizes that the functions above answered.
    unsafe {
        let call = &*call;
        let batch = *call.dims;
        if batch == 13 {
            *call.detail = 0;
            return Status::Guard.code();
        }
        if call.arena_bytes < batch * 16 || !(call.arena as usize).is_multiple_of(ALIGNMENT) {
            return Status::Arena.code();
        }
        let x = std::slice::from_raw_parts((*call.inputs).cast::<f32>(), batch as usize * 4);
        if x.iter().any(|&value| value < 0.0) {
            *call.detail = 0;
            return Status::Index.code();
        }
        match call.pool.as_ref() {
            Some(pool) => run_parallel(pool, batch, call),
            None => divide(ptr::from_ref(call).cast(), 0, 0, batch),
        }
    }
    Status::Ok.code()
}

unsafe fn run_parallel(pool: &Pool, batch: i64, call: &Call) {
    let kernel: Kernel = divide;
    // SAFETY: the pool is the runtime's; the kernel writes disjoint rows.
    unsafe { (pool.parallel_for)(pool.data, batch, 1, kernel, ptr::from_ref(call).cast()) }
}

unsafe extern "C" fn divide(args: *const c_void, _worker: i64, begin: i64, end: i64) {
    // SAFETY: `args` is the call; rows `begin..end` are this chunk's alone.
    unsafe {
        let call = &*args.cast::<Call>();
        let x = (*call.inputs).cast::<f32>();
        let (p, total) = ((*call.outputs).cast::<f32>(), (*call.outputs.add(1)).cast::<f32>());
        for row in begin as usize..end as usize {
            let sum: f32 = (0..4).map(|i| *x.add(row * 4 + i)).sum();
            (0..4).for_each(|i| *p.add(row * 4 + i) = *x.add(row * 4 + i) / sum);
            *total.add(row) = sum;
        }
    }
}
