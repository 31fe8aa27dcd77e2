//! The C header of a compiled model.

use kiln_ir::DType;
use kiln_ir::artifact::{ABI_VERSION, ALIGNMENT, Extent, Signature, Status, TensorDecl, WeightsLocation};
use std::fmt::Write as _;

/// The text of `<model>.h`.
pub fn c_header(signature: &Signature) -> String {
    let mut out = String::new();
    let mut line = |text: &str| {
        out.push_str(text);
        out.push('\n');
    };
    let name = &signature.name;
    let guard = format!("KILN_{}_H", name.to_ascii_uppercase());
    line(&format!("/* {name}: compiled by {}. ABI version {ABI_VERSION}.", signature.compiler));
    line(" *");
    for (title, tensors) in [("inputs", &signature.inputs), ("outputs", &signature.outputs)] {
        line(&format!(" * {title}[i], in this order:"));
        for (position, tensor) in tensors.iter().enumerate() {
            line(&format!(" *   [{position}] {}, {}", comment(&tensor.to_string()), c_type(tensor.dtype)));
        }
    }
    if !signature.symbols.is_empty() {
        line(" * dims[i], sizes chosen by the caller, in this order:");
        for (position, symbol) in signature.symbols.iter().enumerate() {
            let range = symbol.max.map_or(format!("at least {}", symbol.min), |max| format!("{} to {max}", symbol.min));
            line(&format!(" *   [{position}] {}: {range}", comment(&symbol.name)));
        }
    }
    for (position, condition) in signature.guards.iter().enumerate() {
        line(&format!(" * Condition {position}: {}", comment(condition)));
    }
    if signature.states > 0 {
        let states = signature.states;
        line(&format!(
            " * The last {states} inputs are states: the last {states} outputs are their next values, each of which may be the same memory."
        ));
    }
    line(RULES);
    if !signature.cpu.is_empty() {
        line(&format!(" * CPU: the code needs {}.", signature.cpu.join(", ")));
        line(&format!(" * {name}_arena_bytes runs on any CPU and answers KILN_CPU where something is missing; call it before the rest."));
    }
    line(match &signature.weights.location {
        WeightsLocation::Embedded => " * Weights: embedded; leave call.weights null.",
        WeightsLocation::Tail | WeightsLocation::External(_) => {
            " * Weights: not embedded; point call.weights at the bytes of the weights file, aligned to 64 bytes."
        }
    });
    if let WeightsLocation::External(file) = &signature.weights.location {
        line(&format!(" * They are the file {} ({} bytes).", comment(file), signature.weights.bytes));
    }
    line(" */");
    line(&format!("#ifndef {guard}\n#define {guard}\n\n#include <stdint.h>\n\n#ifdef __cplusplus\nextern \"C\" {{\n#endif\n"));
    line(&shared_declarations());
    line(&sizes(signature));
    line("/* Runs the model: 0 or a status. Any number of threads may run it at once, each with its own arena and outputs. */");
    line(&format!("int32_t {name}_predict(const kiln_call *call);"));
    line(
        "/* Writes the arena's size in bytes for these dims and that many pool workers (1 without a pool): 0 or a status,\n   and then the detail in place of the size. */",
    );
    line(&format!("int32_t {name}_arena_bytes(const int64_t *dims, int64_t threads, int64_t *bytes);"));
    line("/* Writes the dims of all outputs, one output after the other: 0 or a status. */");
    line(&format!("int32_t {name}_output_shapes(const int64_t *dims, int64_t *shapes);"));
    line("/* All of the above, for programs that load models by name. */");
    line(&format!("extern const kiln_model {name}_model;\n"));
    line(&format!("#ifdef __cplusplus\n}}\n#endif\n\n#endif /* {guard} */"));
    out
}

const RULES: &str = " *
 * Tensors are contiguous and row-major (the last axis is dense), aligned to their element type; 64 bytes are faster.
 * The arena is aligned to 64 bytes, as large as _arena_bytes says, and undefined before and after a call.
 * Outputs and arena must not overlap each other or anything else in the call; inputs may overlap each other.
 * Nothing is allocated, no global is written, nothing but call.pool's function is called.
 *";

/// Types that all models share: guarded, so that several headers can be included together.
fn shared_declarations() -> String {
    let mut out = format!("#ifndef KILN_ABI\n#define KILN_ABI {ABI_VERSION}\n#define KILN_ALIGNMENT {ALIGNMENT}\n\n");
    out.push_str("enum kiln_status {\n");
    for status in Status::ALL {
        let detail = match status {
            Status::SymbolRange => "; detail: which of dims",
            Status::Guard => "; detail: number of the condition above",
            Status::Arena => "; detail: bytes needed",
            Status::Index => "; detail: number of the node",
            Status::Ok | Status::Overflow | Status::Cpu | Status::NoWeights | Status::AbiVersion => "",
        };
        writeln!(out, "  {} = {}, /* {}{detail} */", status_name(status), status.code(), status.text()).expect("a string takes anything");
    }
    out.push_str("};\n\n");
    out.push_str(
        "/* Computes tasks begin..end as worker `worker`. */
typedef void (*kiln_kernel)(const void *args, int64_t worker, int64_t begin, int64_t end);

/* How loops run in parallel: parallel_for splits tasks 0..tasks into chunks of at least `grain` and returns when all are done.
   Two chunks that run at once have different workers, all in 0..workers. */
typedef struct kiln_pool {
  void *data;
  int64_t workers;
  void (*parallel_for)(void *data, int64_t tasks, int64_t grain, kiln_kernel kernel, const void *args);
} kiln_pool;

typedef struct kiln_call {
  const void *const *inputs;
  void *const *outputs;
  const int64_t *dims;
  void *arena;
  int64_t arena_bytes;
  const void *weights;    /* null: the embedded ones */
  const kiln_pool *pool;  /* null: run in the calling thread alone */
  int64_t *detail;        /* may be null */
  int64_t *output_dims;   /* null unless the model says that outputs depend on data */
} kiln_call;

typedef struct kiln_model {
  uint32_t abi_version;
  uint32_t flags;
  const uint8_t *signature; /* JSON */
  uint64_t signature_bytes;
  const uint8_t *weights;
  uint64_t weights_bytes;
  int32_t (*predict)(const kiln_call *call);
  int32_t (*arena_bytes)(const int64_t *dims, int64_t threads, int64_t *bytes);
  int32_t (*output_shapes)(const int64_t *dims, int64_t *shapes);
} kiln_model;
#endif
",
    );
    out
}

/// Element counts that are known now.
fn sizes(signature: &Signature) -> String {
    let prefix = signature.name.to_ascii_uppercase();
    let mut out = String::new();
    for (kind, tensors) in [("INPUT", &signature.inputs), ("OUTPUT", &signature.outputs)] {
        for (position, tensor) in tensors.iter().enumerate() {
            if let Some(elements) = elements(tensor) {
                writeln!(out, "#define {prefix}_{kind}_{position}_ELEMENTS {elements}").expect("a string takes anything");
            }
        }
    }
    out
}

fn elements(tensor: &TensorDecl) -> Option<i64> {
    tensor.shape.iter().try_fold(1i64, |product, extent| match extent {
        Extent::Fixed(n) => product.checked_mul(*n),
        Extent::Expression(_) => None,
    })
}

fn status_name(status: Status) -> &'static str {
    match status {
        Status::Ok => "KILN_OK",
        Status::SymbolRange => "KILN_SYMBOL_RANGE",
        Status::Guard => "KILN_GUARD",
        Status::Arena => "KILN_ARENA",
        Status::Overflow => "KILN_OVERFLOW",
        Status::Index => "KILN_INDEX",
        Status::Cpu => "KILN_CPU",
        Status::NoWeights => "KILN_NO_WEIGHTS",
        Status::AbiVersion => "KILN_ABI_VERSION",
    }
}

fn c_type(dtype: DType) -> &'static str {
    match dtype {
        DType::Bool => "one byte each, 0 or 1",
        DType::I8 => "int8_t",
        DType::U8 => "uint8_t",
        DType::I16 => "int16_t",
        DType::U16 => "uint16_t",
        DType::I32 => "int32_t",
        DType::U32 => "uint32_t",
        DType::I64 => "int64_t",
        DType::U64 => "uint64_t",
        DType::F16 => "IEEE binary16 in two bytes",
        DType::BF16 => "bfloat16 in two bytes",
        DType::F32 => "float",
        DType::F64 => "double",
    }
}

/// A text from a model, so that it cannot end the comment it stands in.
fn comment(text: &str) -> String {
    text.replace("*/", "* /").replace(['\n', '\r'], " ")
}
