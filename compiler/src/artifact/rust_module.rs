//! The typed Rust module of a compiled model: a file that needs the static library beside it and nothing else.
//! ```text
//! let mut net = digits::Digits::new(digits::Sizes { batch: 1 })?;
//! let mut outputs = net.outputs();
//! net.predict(&digits::Inputs { image: &pixels }, &mut outputs)?;
//! ```
//! Everything unsafe in it is one call, before which the length of each slice is compared with what the signature says.

use super::names::symbol_name;
use super::rust_size::rust_size;
use kiln_ir::artifact::{Extent, Signature, Status, TensorDecl};
use kiln_ir::dim::parse_dim;
use kiln_ir::{DType, Diagnostic, Dim};
use std::collections::BTreeSet;
use std::fmt::Write as _;

/// The inputs behind the data of a step of training, which begin with known values.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Start {
    /// How many of them stay as they are; the states are those behind them.
    pub frozen: usize,
    /// The file beside the module that has their values, one behind the other in the order of the signature.
    pub file: String,
}

/// The text of the module.
///
/// Errors: `rust_module` for states whose sizes are open, and for outputs whose sizes depend on data.
pub fn rust_module(signature: &Signature, start: Option<&Start>) -> Result<String, Diagnostic> {
    if signature.data_dependent {
        let error = Diagnostic::new("rust_module", format!("sizes of what `{}` gives depend on its data", signature.name));
        return Err(error.help("a Rust module makes outputs before a run: call the library by its C header"));
    }
    let states = signature.states;
    let (inputs, state_inputs) = signature.inputs.split_at(signature.inputs.len() - states);
    let (data, frozen) = inputs.split_at(inputs.len() - start.map_or(0, |start| start.frozen));
    let outputs = &signature.outputs[..signature.outputs.len() - states];
    let symbols: Vec<&str> = signature.symbols.iter().map(|symbol| symbol.name.as_str()).collect();
    if let Some(open) = frozen.iter().chain(state_inputs).find(|tensor| known_elements(tensor).is_none()) {
        return Err(Diagnostic::new("rust_module", format!("the state `{open}` has a size that only the run knows")));
    }
    let module = Writer { signature, symbols: &symbols };
    let groups = Groups { data: fields(data), frozen: fields(frozen), states: fields(state_inputs), outputs: fields(outputs), start };
    Ok([module.head(&groups), module.types(&groups), module.values(&groups), module.network(&groups), SUPPORT.to_string(), status_texts()]
        .concat())
}

/// A tensor with the name of its field.
struct Field<'s> {
    name: String,
    tensor: &'s TensorDecl,
}

impl Field<'_> {
    fn is_scalar(&self) -> bool {
        self.tensor.shape.is_empty()
    }

    fn element(&self) -> &'static str {
        rust_type(self.tensor.dtype)
    }

    fn doc(&self) -> String {
        let bits = match self.tensor.dtype {
            DType::F16 => ", the bits of IEEE binary16",
            DType::BF16 => ", the bits of bfloat16",
            _ => "",
        };
        format!("    /// `{}`{bits}\n", self.tensor.to_string().replace('`', "'").replace(['\n', '\r'], " "))
    }
}

struct Groups<'s> {
    data: Vec<Field<'s>>,
    frozen: Vec<Field<'s>>,
    states: Vec<Field<'s>>,
    outputs: Vec<Field<'s>>,
    start: Option<&'s Start>,
}

/// Fields whose names are letters, digits and underscores, without those that inputs of a step begin with, each once.
fn fields<'s>(tensors: &'s [TensorDecl]) -> Vec<Field<'s>> {
    let mut taken = BTreeSet::new();
    let named = |tensor: &'s TensorDecl| {
        let name = &tensor.name;
        let mut field = symbol_name(name.strip_prefix("step/").unwrap_or(name)).to_ascii_lowercase();
        // The words of the language, those that it keeps for later among them.
        if KEYWORDS.contains(&field.as_str()) {
            field.push('_');
        }
        let mut unique = field.clone();
        let mut count = 1;
        while !taken.insert(unique.clone()) {
            count += 1;
            unique = format!("{field}_{count}");
        }
        Field { name: unique, tensor }
    };
    tensors.iter().map(named).collect()
}

const KEYWORDS: [&str; 51] = [
    "abstract", "as", "async", "await", "become", "box", "break", "const", "continue", "crate", "do", "dyn", "else", "enum", "extern",
    "false", "final", "fn", "for", "gen", "if", "impl", "in", "let", "loop", "macro", "match", "mod", "move", "mut", "override", "priv",
    "pub", "ref", "return", "self", "static", "struct", "super", "trait", "true", "try", "type", "typeof", "unsafe", "unsized", "use",
    "virtual", "where", "while", "yield",
];

fn rust_type(dtype: DType) -> &'static str {
    match dtype {
        DType::Bool => "bool",
        DType::I8 => "i8",
        DType::U8 => "u8",
        DType::I16 => "i16",
        DType::U16 | DType::F16 | DType::BF16 => "u16",
        DType::I32 => "i32",
        DType::U32 => "u32",
        DType::I64 => "i64",
        DType::U64 => "u64",
        DType::F32 => "f32",
        DType::F64 => "f64",
    }
}

fn known_elements(tensor: &TensorDecl) -> Option<i64> {
    tensor.shape.iter().try_fold(1i64, |product, extent| match extent {
        Extent::Fixed(n) => product.checked_mul(*n),
        Extent::Expression(_) => None,
    })
}

/// `digits_train_step` → `DigitsTrainStep`.
fn type_name(name: &str) -> String {
    let capital = |word: &str| word[..1].to_ascii_uppercase() + &word[1..];
    name.split('_').filter(|word| !word.is_empty()).map(capital).collect()
}

struct Writer<'s> {
    signature: &'s Signature,
    symbols: &'s [&'s str],
}

impl Writer<'_> {
    fn head(&self, groups: &Groups) -> String {
        let (name, compiler) = (&self.signature.name, &self.signature.compiler);
        let mut out = format!("//! `{name}`, compiled by {compiler}. This file is generated.\n//!\n");
        let more = groups.start.map_or(String::new(), |start| format!(", {} beside this file", start.file));
        write_line(&mut out, &format!("//! It needs lib{name}.a{more} and nothing else: `mod` it, and tell rustc where the library is,"));
        write_line(&mut out, "//! `rustc main.rs -L native=DIR`, or in build.rs `println!(\"cargo::rustc-link-search=native=DIR\")`.");
        if !self.signature.cpu.is_empty() {
            write_line(&mut out, &format!("//! The code needs a CPU with {}; `new` asks it.", self.signature.cpu.join(", ")));
        }
        out.push_str("#![allow(dead_code, unused_parens, clippy::all)]\n\nuse std::ffi::c_void;\nuse std::fmt;\nuse std::ptr;\n\n");
        write_line(&mut out, &format!("#[link(name = \"{name}\", kind = \"static\")]\nunsafe extern \"C\" {{"));
        write_line(&mut out, &format!("    fn {name}_predict(call: *const Call) -> i32;"));
        write_line(&mut out, &format!("    fn {name}_arena_bytes(dims: *const i64, threads: i64, bytes: *mut i64) -> i32;\n}}\n"));
        out
    }

    fn types(&self, groups: &Groups) -> String {
        let mut out =
            String::from("/// Sizes that the caller chooses.\n#[derive(Clone, Copy, PartialEq, Eq, Debug)]\npub struct Sizes {\n");
        for (symbol, field) in self.signature.symbols.iter().zip(self.size_names()) {
            let range = symbol.max.map_or(format!("At least {}", symbol.min), |max| format!("From {} to {max}", symbol.min));
            write_line(&mut out, &format!("    /// {range}.\n    pub {field}: usize,"));
        }
        out.push_str("}\n\n");
        let lifetime = if groups.data.iter().all(Field::is_scalar) { "" } else { "<'a>" };
        let note = "in rows: the last axis lies dense";
        write_line(&mut out, &format!("/// What goes in, {note}.\n#[derive(Clone, Copy, Debug)]\npub struct Inputs{lifetime} {{"));
        for field in &groups.data {
            let ty = if field.is_scalar() { field.element().to_string() } else { format!("&'a [{}]", field.element()) };
            out.push_str(&field.doc());
            write_line(&mut out, &format!("    pub {}: {ty},", field.name));
        }
        out.push_str("}\n\n");
        let owned = [
            ("Outputs", "What comes out", &groups.outputs),
            ("Frozen", "Parameters that stay as they are", &groups.frozen),
            ("States", "What each step changes", &groups.states),
        ];
        for (ty, what, fields) in owned {
            if fields.is_empty() && ty != "Outputs" {
                continue;
            }
            write_line(&mut out, &format!("/// {what}, {note}.\n#[derive(Clone, PartialEq, Debug)]\npub struct {ty} {{"));
            for field in fields {
                let ty = if field.is_scalar() { field.element().to_string() } else { format!("Vec<{}>", field.element()) };
                out.push_str(&field.doc());
                write_line(&mut out, &format!("    pub {}: {ty},", field.name));
            }
            out.push_str("}\n\n");
        }
        out
    }

    /// First values of what a step changes and of what it leaves.
    fn values(&self, groups: &Groups) -> String {
        let Some(start) = groups.start else { return String::new() };
        let mut out = format!("static START: &[u8] = include_bytes!({:?});\n\n", start.file);
        let mut at = 0;
        for (ty, fields) in [("Frozen", &groups.frozen), ("States", &groups.states)] {
            if fields.is_empty() {
                continue;
            }
            write_line(
                &mut out,
                &format!("impl {ty} {{\n    /// The values that training begins with.\n    pub fn initial() -> {ty} {{\n        {ty} {{"),
            );
            for field in fields {
                let count = known_elements(field.tensor).unwrap_or_default();
                let from = match field.tensor.dtype {
                    DType::Bool => "|byte: [u8; 1]| byte[0] != 0".to_string(),
                    _ => format!("{}::from_le_bytes", field.element()),
                };
                let first = if field.is_scalar() { "[0]" } else { "" };
                write_line(&mut out, &format!("            {}: read({at}, {count}, {from}){first},", field.name));
                at += count * field.tensor.dtype.size_bytes() as i64;
            }
            out.push_str("        }\n    }\n}\n\n");
        }
        out.push_str(
            "/// Numbers from the bytes of the file.\nfn read<T, const N: usize>(at: usize, count: usize, from: fn([u8; N]) -> T) -> Vec<T> {\n    \
             let bytes = START[at..at + count * N].chunks_exact(N);\n    \
             bytes.map(|bytes| from(bytes.try_into().expect(\"chunks are of that size\"))).collect()\n}\n\n",
        );
        out
    }

    fn network(&self, groups: &Groups) -> String {
        let (name, ty) = (&self.signature.name, type_name(&self.signature.name));
        let count = self.symbols.len();
        let mut out = format!(
            "/// The network at some sizes, with the memory that it computes in. Runs in the calling thread.\npub struct {ty} {{\n    \
             dims: [i64; {count}],\n    arena: Vec<Line>,\n}}\n\nimpl {ty} {{\n"
        );
        let dims: Vec<String> =
            self.size_names().into_iter().map(|field| format!("sizes.{field}.try_into().unwrap_or(i64::MAX)")).collect();
        let unused = if count == 0 { "_" } else { "" };
        write_line(
            &mut out,
            "    /// Errors: sizes that the network does not take, too little memory, or a CPU that lacks what the code needs.",
        );
        write_line(&mut out, &format!("    pub fn new({unused}sizes: Sizes) -> Result<{ty}, Error> {{"));
        write_line(&mut out, &format!("        let dims: [i64; {count}] = [{}];", dims.join(", ")));
        out.push_str("        let mut bytes = 0;\n");
        write_line(&mut out, "        // SAFETY: both are as long as the function was compiled for.");
        write_line(&mut out, &format!("        check(unsafe {{ {name}_arena_bytes(dims.as_ptr(), 1, &mut bytes) }}, bytes)?;"));
        out.push_str("        let lines = usize::try_from(bytes).unwrap_or(usize::MAX).div_ceil(64);\n");
        out.push_str("        let mut arena = Vec::new();\n");
        out.push_str("        arena.try_reserve_exact(lines).map_err(|_| Error::Memory(bytes))?;\n");
        out.push_str("        arena.resize(lines, Line([0; 64]));\n");
        write_line(&mut out, &format!("        Ok({ty} {{ dims, arena }})\n    }}\n"));

        out.push_str("    /// Outputs of the right lengths, filled with zeros.\n    pub fn outputs(&self) -> Outputs {\n");
        out.push_str(&self.bound_dims(&groups.outputs));
        out.push_str("        Outputs {\n");
        for field in &groups.outputs {
            let zero = match field.tensor.dtype {
                DType::Bool => "false",
                DType::F32 | DType::F64 => "0.0",
                _ => "0",
            };
            let value = match field.is_scalar() {
                true => zero.to_string(),
                false => format!("vec![{zero}; elements(&[{}])]", self.sizes_of(field.tensor)),
            };
            write_line(&mut out, &format!("            {}: {value},", field.name));
        }
        out.push_str("        }\n    }\n\n");
        out.push_str(&self.run(groups));
        out.push_str("}\n\n");
        out
    }

    /// The method that calls the compiled code.
    fn run(&self, groups: &Groups) -> String {
        let name = &self.signature.name;
        let method = if groups.states.is_empty() { "predict" } else { "step" };
        let what = if groups.states.is_empty() { "Runs the network" } else { "One step of training, which changes the states" };
        let mut arguments = String::from("&mut self, inputs: &Inputs");
        if !groups.frozen.is_empty() {
            arguments.push_str(", frozen: &Frozen");
        }
        if !groups.states.is_empty() {
            arguments.push_str(", states: &mut States");
        }
        let mut out = format!(
            "    /// {what}. Errors: slices of other lengths than their comments say; what the data bring about.\n    \
             pub fn {method}({arguments}, outputs: &mut Outputs) -> Result<(), Error> {{\n"
        );
        let sets = [("inputs", &groups.data), ("frozen", &groups.frozen), ("states", &groups.states), ("outputs", &groups.outputs)];
        let all: Vec<&Field> = sets.iter().flat_map(|(_, fields)| fields.iter()).collect();
        out.push_str(&self.bound_dims(all.iter().copied()));
        for (set, fields) in &sets {
            for field in fields.iter().filter(|field| !field.is_scalar()) {
                let (field, sizes) = (&field.name, self.sizes_of(field.tensor));
                write_line(
                    &mut out,
                    &format!("        expect({:?}, {set}.{field}.len(), elements(&[{sizes}]))?;", format!("{set}.{field}")),
                );
            }
        }
        let read = |set: &str, field: &Field| match field.is_scalar() {
            true => format!("(&raw const {set}.{}).cast()", field.name),
            false => format!("{set}.{}.as_ptr().cast()", field.name),
        };
        let write = |set: &str, field: &Field| match field.is_scalar() {
            true => format!("(&raw mut {set}.{}).cast()", field.name),
            false => format!("{set}.{}.as_mut_ptr().cast()", field.name),
        };
        let mut list = |kind: &str, ty: &str, pointers: Vec<String>| {
            write_line(&mut out, &format!("        let {kind}_at: [{ty}; {}] = [", pointers.len()));
            pointers.iter().for_each(|pointer| write_line(&mut out, &format!("            {pointer},")));
            write_line(&mut out, "        ];");
        };
        let states: Vec<String> = groups.states.iter().map(|field| write("states", field)).collect();
        // States are read and written in one place.
        if !states.is_empty() {
            list("states", "*mut c_void", states);
        }
        let data = groups.data.iter().map(|field| read("inputs", field)).chain(groups.frozen.iter().map(|field| read("frozen", field)));
        let next = (0..groups.states.len()).map(|at| format!("states_at[{at}].cast_const()"));
        list("inputs", "*const c_void", data.chain(next).collect());
        let results = groups.outputs.iter().map(|field| write("outputs", field));
        list("outputs", "*mut c_void", results.chain((0..groups.states.len()).map(|at| format!("states_at[{at}]"))).collect());
        out.push_str("        let mut detail = 0;\n        let call = Call {\n            inputs: inputs_at.as_ptr(),\n            ");
        out.push_str("outputs: outputs_at.as_ptr(),\n            dims: self.dims.as_ptr(),\n            arena: self.arena.as_mut_ptr().cast(),\n            ");
        out.push_str(
            "arena_bytes: self.arena.len() as i64 * 64,\n            weights: ptr::null(),\n            pool: ptr::null(),\n            ",
        );
        out.push_str("detail: &mut detail,\n            output_dims: ptr::null_mut(),\n        };\n");
        out.push_str("        // SAFETY: every tensor has the length that was compared above, nothing is borrowed twice, and the arena is as large\n");
        out.push_str("        // as the code said that it must be for these sizes.\n");
        write_line(&mut out, &format!("        check(unsafe {{ {name}_predict(&call) }}, detail)\n    }}"));
        out
    }

    /// Names of the fields of `Sizes`.
    fn size_names(&self) -> Vec<String> {
        let decl = |name: &&str| TensorDecl { name: (*name).to_string(), dtype: DType::I64, shape: Vec::new() };
        let decls: Vec<TensorDecl> = self.symbols.iter().map(decl).collect();
        fields(&decls).into_iter().map(|field| field.name).collect()
    }

    /// The sizes of a tensor as Rust expressions over `d0`, `d1`, ….
    fn sizes_of(&self, tensor: &TensorDecl) -> String {
        let sizes = tensor.shape.iter().map(|extent| rust_size(&dim(extent), self.symbols));
        sizes.collect::<Vec<_>>().join(", ")
    }

    /// Gives the sizes that tensors depend on short names.
    fn bound_dims<'f, 's: 'f>(&self, fields: impl IntoIterator<Item = &'f Field<'s>>) -> String {
        let mut used = BTreeSet::new();
        for field in fields {
            field.tensor.shape.iter().for_each(|extent| used.extend(dim(extent).symbols()));
        }
        let at = |name: &str| self.symbols.iter().position(|symbol| *symbol == name);
        let used = used.iter().filter_map(|symbol| at(symbol.name()));
        used.map(|at| format!("        let d{at} = self.dims[{at}];\n")).collect()
    }
}

fn dim(extent: &Extent) -> Dim {
    match extent {
        Extent::Fixed(n) => Dim::from(*n),
        Extent::Expression(text) => parse_dim(text).unwrap_or_else(|error| panic!("signature: size {text}: {error}")),
    }
}

fn write_line(out: &mut String, text: &str) {
    writeln!(out, "{text}").expect("a string takes anything");
}

/// What every module has.
const SUPPORT: &str = concat!(
    "/// The number of elements of a tensor.\n",
    "fn elements(sizes: &[i64]) -> usize {\n",
    "    let product = sizes.iter().try_fold(1i64, |product, size| product.checked_mul(*size));\n",
    "    product.and_then(|count| usize::try_from(count).ok()).unwrap_or(usize::MAX)\n",
    "}\n\n",
    "fn expect(tensor: &'static str, found: usize, expected: usize) -> Result<(), Error> {\n",
    "    if found == expected { Ok(()) } else { Err(Error::Length { tensor, found, expected }) }\n",
    "}\n\n",
    "fn check(status: i32, detail: i64) -> Result<(), Error> {\n",
    "    if status == 0 { Ok(()) } else { Err(Error::Status { status, detail }) }\n",
    "}\n\n",
    "/// What can go wrong.\n",
    "#[derive(Clone, Copy, PartialEq, Eq, Debug)]\n",
    "pub enum Error {\n",
    "    /// A slice has another length than the sizes say.\n",
    "    Length {\n        /// Which.\n        tensor: &'static str,\n        /// Its elements.\n        found: usize,\n        /// What they must be.\n        expected: usize,\n    },\n",
    "    /// So many bytes of memory could not be had.\n    Memory(i64),\n",
    "    /// What the compiled code answered.\n",
    "    Status {\n        /// Its number.\n        status: i32,\n        /// Which size, condition or node it is about.\n        detail: i64,\n    },\n",
    "}\n\n",
    "impl fmt::Display for Error {\n",
    "    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {\n",
    "        match self {\n",
    "            Error::Length { tensor, found, expected } => write!(f, \"`{tensor}` has {found} elements, {expected} are needed\"),\n",
    "            Error::Memory(bytes) => write!(f, \"no memory for {bytes} bytes\"),\n",
    "            Error::Status { status, detail } => write!(f, \"{} ({detail})\", status_text(*status)),\n",
    "        }\n    }\n}\n\n",
    "impl std::error::Error for Error {}\n\n",
    "/// A line of the cache, by which the memory of intermediate values is aligned.\n",
    "#[derive(Clone, Copy)]\n#[repr(C, align(64))]\nstruct Line([u8; 64]);\n\n",
    "/// Everything that one run reads and writes.\n",
    "#[repr(C)]\nstruct Call {\n    inputs: *const *const c_void,\n    outputs: *const *mut c_void,\n    dims: *const i64,\n",
    "    arena: *mut c_void,\n    arena_bytes: i64,\n    weights: *const c_void,\n    pool: *const c_void,\n    detail: *mut i64,\n",
    "    output_dims: *mut i64,\n}\n\n",
);

/// The function that says what answers mean.
fn status_texts() -> String {
    let mut out = String::from("fn status_text(status: i32) -> &'static str {\n    match status {\n");
    for status in Status::ALL {
        write_line(&mut out, &format!("        {} => {:?},", status.code(), status.text()));
    }
    out.push_str("        _ => \"an unknown answer\",\n    }\n}\n");
    out
}
