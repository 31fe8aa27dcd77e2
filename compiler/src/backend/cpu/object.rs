//! A compiled model as an object file.

use super::emit::{Isas, emit_main};
use super::entry::{Exports, WeightsSource, export_name};
use super::target::{CpuTarget, Placement};
use crate::schedule::plan::ProgramPlan;
use cranelift_codegen::Context;
use cranelift_codegen::ir::{AbiParam, Function, InstBuilder, UserFuncName, types};
use cranelift_frontend::{FunctionBuilder, FunctionBuilderContext};
use cranelift_module::{DataDescription, DataId, Linkage, Module, default_libcall_names};
use cranelift_object::{ObjectBuilder, ObjectModule};
use kiln_ir::artifact::{ABI_VERSION, ALIGNMENT, ModelDescriptor, Signature, TextInput, Tokens, TrainerDescriptor};
use object::SectionKind;
use object::write::Object;
use std::mem::{offset_of, size_of};

/// The functions of the runtime that programs' `main` call.
const RUNTIME_MAIN: &str = "kiln_runtime_main";
const LISTENER_MAIN: &str = "kiln_listener_main";
const TEXT_MAIN: &str = "kiln_text_main";
const TOKENIZER_MAIN: &str = "kiln_tokenizer_main";
const WRITER_MAIN: &str = "kiln_writer_main";
const TOKENIZER_WRITER_MAIN: &str = "kiln_tokenizer_writer_main";
const TRAINER_MAIN: &str = "kiln_trainer_main";
const TOKENIZER_TRAINER_MAIN: &str = "kiln_tokenizer_trainer_main";
const LISTENER_TRAINER_MAIN: &str = "kiln_listener_trainer_main";

/// Name of the embedded weights inside an object.
const WEIGHTS: &str = "weights";

/// What an object holds besides code.
pub struct ObjectParts<'a> {
    /// The signature, whose name is the model's.
    pub signature: &'a Signature,
    /// Weights to embed; they are written once and never copied.
    pub weights: Option<&'a [u8]>,
    /// Which `main` it has.
    pub main: Main<'a>,
}

/// What the `main` of a program does.
#[derive(Clone, Copy, Debug)]
pub enum Main<'a> {
    /// There is none.
    None,
    /// Hands the model to the runtime.
    Predict,
    /// Hands a trainer to the runtime, whose evaluation the model is.
    Train {
        /// Name of the model in another object that is one step.
        step: &'a str,
        /// Name of the model in another object that tells where numbers stop being finite.
        trace: &'a str,
        /// How they are driven, as JSON.
        recipe: &'a str,
    },
}

/// The object of a model: `m_predict`, `m_arena_bytes`, `m_output_shapes` and the descriptor `m_model`.
///
/// It refers to nothing outside itself, except with `main` to the runtime.
pub fn model_object<'a>(plan: &ProgramPlan, target: &CpuTarget, parts: &ObjectParts<'a>) -> Object<'a> {
    let isas = Isas::new(target, Placement::Object);
    let model = &parts.signature.name;
    let builder = ObjectBuilder::new(isas.baseline().clone(), model.as_str(), default_libcall_names());
    let mut module = ObjectModule::new(builder.unwrap_or_else(|error| panic!("object: {error}")));
    let weights = parts.weights.filter(|bytes| !bytes.is_empty()).map(|bytes| (declare_weights(&mut module), bytes));
    let source = weights.map_or(WeightsSource::Caller, |(data, _)| WeightsSource::Symbol(data));
    let exports = emit_main(&mut module, model, plan, &isas, source, None, target.features());
    let signature = define_signature(&mut module, parts.signature);
    let sizes = Sizes { signature: signature.1, weights: parts.signature.weights.bytes };
    let descriptor = define_descriptor(&mut module, model, &exports, signature.0, weights.map(|(data, _)| data), sizes);
    match parts.main {
        Main::None => {}
        Main::Predict => {
            let main = match (&parts.signature.text, has_tokenizer(parts.signature)) {
                (_, true) if parts.signature.writes() => TOKENIZER_WRITER_MAIN,
                (Some(_), false) if parts.signature.writes() => WRITER_MAIN,
                (_, true) => TOKENIZER_MAIN,
                (Some(_), false) => TEXT_MAIN,
                (None, false) if parts.signature.audio.is_some() => LISTENER_MAIN,
                (None, false) => RUNTIME_MAIN,
            };
            define_main(&mut module, main, descriptor);
        }
        Main::Train { step, trace, recipe } => {
            let trainer = define_trainer(&mut module, descriptor, [step, trace], recipe);
            let main = match has_tokenizer(parts.signature) {
                true => TOKENIZER_TRAINER_MAIN,
                false if parts.signature.audio.is_some() => LISTENER_TRAINER_MAIN,
                false => TRAINER_MAIN,
            };
            define_main(&mut module, main, trainer);
        }
    }
    let product = module.finish();
    let symbol = weights.and_then(|(data, bytes)| product.data_objects[data].map(|(symbol, _)| (symbol, bytes)));
    let mut object: Object<'a> = product.object;
    if let Some((symbol, bytes)) = symbol {
        let section = object.add_section(Vec::new(), b".rodata.weights".to_vec(), SectionKind::ReadOnlyData);
        object.set_section_data(section, bytes, ALIGNMENT as u64);
        object.set_symbol_data(symbol, section, 0, bytes.len() as u64);
    }
    object
}

/// Whether a model's texts are cut by a tokeniser of another library, which its program then has.
fn has_tokenizer(signature: &Signature) -> bool {
    let text: Option<TextInput> = signature.text.as_ref().and_then(|text| serde_json::from_str(text).ok());
    text.is_some_and(|text| matches!(text.tokens, Tokens::Tokenizer(_)))
}

/// Every symbol that callers of a model may use.
pub fn exported_symbols(model: &str) -> Vec<String> {
    ["predict", "arena_bytes", "output_shapes", "model"].map(|function| export_name(model, function)).to_vec()
}

fn declare(module: &mut ObjectModule, name: &str, linkage: Linkage) -> DataId {
    module.declare_data(name, linkage, false, false).unwrap_or_else(|error| panic!("object: {name}: {error}"))
}

fn define(module: &mut ObjectModule, data: DataId, description: &DataDescription) {
    module.define_data(data, description).unwrap_or_else(|error| panic!("object: {error}"));
}

/// A symbol of this object without contents; it gets its section at the end.
fn declare_weights(module: &mut ObjectModule) -> DataId {
    let data = declare(module, WEIGHTS, Linkage::Local);
    let mut description = DataDescription::new();
    description.define_zeroinit(0);
    define(module, data, &description);
    data
}

/// The signature's JSON and its length.
fn define_signature(module: &mut ObjectModule, signature: &Signature) -> (DataId, u64) {
    let json = serde_json::to_vec(signature).unwrap_or_else(|error| panic!("object: signature: {error}"));
    let bytes = json.len() as u64;
    let data = declare(module, "signature", Linkage::Local);
    let mut description = DataDescription::new();
    description.define(json.into_boxed_slice());
    define(module, data, &description);
    (data, bytes)
}

struct Sizes {
    signature: u64,
    weights: u64,
}

fn define_descriptor(
    module: &mut ObjectModule,
    model: &str,
    exports: &Exports,
    signature: DataId,
    weights: Option<DataId>,
    sizes: Sizes,
) -> DataId {
    let mut bytes = vec![0; size_of::<ModelDescriptor>()];
    bytes[offset_of!(ModelDescriptor, abi_version)..][..4].copy_from_slice(&ABI_VERSION.to_le_bytes());
    bytes[offset_of!(ModelDescriptor, signature_bytes)..][..8].copy_from_slice(&sizes.signature.to_le_bytes());
    bytes[offset_of!(ModelDescriptor, weights_bytes)..][..8].copy_from_slice(&sizes.weights.to_le_bytes());
    let mut description = DataDescription::new();
    description.define(bytes.into_boxed_slice());
    description.set_align(8);
    let addresses = [(offset_of!(ModelDescriptor, signature), Some(signature)), (offset_of!(ModelDescriptor, weights), weights)];
    for (offset, data) in addresses {
        if let Some(data) = data {
            let value = module.declare_data_in_data(data, &mut description);
            description.write_data_addr(offset as u32, value, 0);
        }
    }
    let functions = [
        (offset_of!(ModelDescriptor, predict), exports.predict),
        (offset_of!(ModelDescriptor, arena_bytes), exports.arena_bytes),
        (offset_of!(ModelDescriptor, output_shapes), exports.output_shapes),
    ];
    for (offset, function) in functions {
        let reference = module.declare_func_in_data(function, &mut description);
        description.write_function_addr(offset as u32, reference);
    }
    let data = declare(module, &export_name(model, "model"), Linkage::Export);
    define(module, data, &description);
    data
}

/// The [`TrainerDescriptor`] of an evaluation in this object, and a step and a trace in others.
fn define_trainer(module: &mut ObjectModule, evaluation: DataId, others: [&str; 2], recipe: &str) -> DataId {
    let text = declare(module, "recipe", Linkage::Local);
    let mut description = DataDescription::new();
    description.define(recipe.as_bytes().into());
    define(module, text, &description);
    let [step, trace] = others.map(|name| declare(module, &export_name(name, "model"), Linkage::Import));
    let mut bytes = vec![0; size_of::<TrainerDescriptor>()];
    bytes[offset_of!(TrainerDescriptor, recipe_bytes)..][..8].copy_from_slice(&(recipe.len() as u64).to_le_bytes());
    let mut description = DataDescription::new();
    description.define(bytes.into_boxed_slice());
    description.set_align(8);
    let addresses = [
        (offset_of!(TrainerDescriptor, step), step),
        (offset_of!(TrainerDescriptor, evaluation), evaluation),
        (offset_of!(TrainerDescriptor, trace), trace),
        (offset_of!(TrainerDescriptor, recipe), text),
    ];
    for (offset, data) in addresses {
        let value = module.declare_data_in_data(data, &mut description);
        description.write_data_addr(offset as u32, value, 0);
    }
    let data = declare(module, "trainer", Linkage::Local);
    define(module, data, &description);
    data
}

/// `int main(int argc, char **argv) { return runtime_main(argc, argv, &descriptor); }`
fn define_main(module: &mut ObjectModule, runtime_main: &str, descriptor: DataId) {
    let bug = |error: &dyn std::fmt::Display| -> ! { panic!("object: main: {error}") };
    let mut signature = module.make_signature();
    signature.params = vec![AbiParam::new(types::I32), AbiParam::new(types::I64)];
    signature.returns = vec![AbiParam::new(types::I32)];
    let mut runtime_signature = signature.clone();
    runtime_signature.params.push(AbiParam::new(types::I64));
    let main = module.declare_function("main", Linkage::Export, &signature).unwrap_or_else(|error| bug(&error));
    let runtime = module.declare_function(runtime_main, Linkage::Import, &runtime_signature).unwrap_or_else(|error| bug(&error));
    let mut function = Function::with_name_signature(UserFuncName::user(0, main.as_u32()), signature);
    let mut context = FunctionBuilderContext::new();
    let mut f = FunctionBuilder::new(&mut function, &mut context);
    let entry = f.create_block();
    f.append_block_params_for_function_params(entry);
    f.switch_to_block(entry);
    f.seal_block(entry);
    let mut arguments = f.block_params(entry).to_vec();
    let model = module.declare_data_in_func(descriptor, f.func);
    arguments.push(f.ins().symbol_value(types::I64, model));
    let reference = module.declare_func_in_func(runtime, f.func);
    let call = f.ins().call(reference, &arguments);
    let status = f.inst_results(call)[0];
    f.ins().return_(&[status]);
    f.finalize(module.target_config());
    module.define_function(main, &mut Context::for_function(function)).unwrap_or_else(|error| bug(&error));
}
