//! One object of a Keras config: which class it is of, its settings, and how it is called.

use super::super::model::tree::{Kind, Mistake, Node};
use super::settings::integers;
use kiln_ir::DType;

/// An object as Keras writes it: `{"module": …, "class_name": …, "config": …, "registered_name": …}`.
#[derive(Clone, Copy)]
pub struct Object<'t> {
    /// Where its class lives: `keras.layers`; files of Keras 2 do not say.
    pub module: Option<&'t str>,
    /// Its class.
    pub class: &'t str,
    /// Its settings.
    pub config: &'t Node,
    node: &'t Node,
}

impl<'t> Object<'t> {
    /// Reads one. Errors: it has no class, or none of Keras's own.
    pub fn read(node: &'t Node) -> Result<Object<'t>, Mistake> {
        let text = |name: &str| node.field(name).and_then(Node::text);
        let class = text("class_name").ok_or_else(|| Mistake::new("a layer has no `class_name`"))?;
        let config = node.field("config").ok_or_else(|| Mistake::new(format!("a {class} has no `config`")))?;
        let object = Object { module: text("module"), class, config, node };
        object.refuse_custom(text("registered_name"))?;
        Ok(object)
    }

    fn refuse_custom(&self, registered: Option<&str>) -> Result<(), Mistake> {
        let foreign = self.module.is_some_and(|module| module != "builtins" && module.split('.').next() != Some("keras"));
        // Keras's own operations are registered under the name of their class.
        let registered = registered.filter(|name| *name != self.class && *name != "function");
        if !foreign && registered.is_none() && !self.class.contains('>') {
            return Ok(());
        }
        let name = registered.unwrap_or(self.class);
        let mistake = Mistake::new(format!("`{}` (`{name}`) is a custom class, whose code is not in the file", self.name()));
        Err(mistake.help("build the model of Keras's own layers, or export it to ONNX"))
    }

    /// The name that others call it by: of a layer, its own; else that of its class.
    pub fn name(&self) -> &'t str {
        let outside = self.node.field("name").and_then(Node::text);
        let inside = self.config.field("name").and_then(Node::text);
        outside.or(inside).unwrap_or(self.class)
    }

    /// Whether it is a model.
    pub fn is_model(&self) -> bool {
        ["Sequential", "Functional", "Model"].contains(&self.class) && self.config.field("layers").is_some()
    }

    /// Whether it is an operation on values rather than a layer. Files of Keras 2's format name no module, but an operation has neither
    /// an element type nor a say in training.
    pub fn is_operation(&self) -> bool {
        match self.module {
            Some(module) => module.starts_with("keras.src.ops") || module.starts_with("keras.ops"),
            None => !self.is_model() && self.class != "InputLayer" && self.config.field("trainable").is_none(),
        }
    }

    /// What several objects in a file that are one object in truth have in common.
    pub fn shared(&self) -> Option<i64> {
        self.node.field("shared_object_id").and_then(Node::integer)
    }

    /// The layers of a model. Errors: an object that is none.
    pub fn layers(&self) -> Result<Vec<Object<'t>>, Mistake> {
        let layers = self.config.field("layers").and_then(Node::list).ok_or_else(|| Mistake::new("`layers` is no list"))?;
        layers.iter().map(Object::read).collect()
    }

    /// References under `input_layers` or `output_layers` of a model, with the names that a table gives them. Errors: there are none.
    pub fn references(&self, what: &str) -> Result<Vec<(Option<&'t str>, Reference<'t>)>, Mistake> {
        let node = self.config.field(what).ok_or_else(|| Mistake::new(format!("`{what}` is missing")))?;
        let found = match &node.kind {
            Kind::Table(entries) => entries.iter().map(|(key, node)| Ok((Some(key.name.as_str()), reference(node)?))).collect(),
            Kind::List(items) if items.first().is_some_and(|item| item.text().is_some()) => Ok(vec![(None, reference(node)?)]),
            Kind::List(items) => items.iter().map(|node| Ok((None, reference(node)?))).collect::<Result<Vec<_>, Mistake>>(),
            _ => Err(Mistake::new(format!("`{what}` is no list"))),
        }?;
        if found.is_empty() { Err(Mistake::new(format!("`{what}` is empty"))) } else { Ok(found) }
    }

    /// The calls of it in a functional model. Errors: no list.
    pub fn calls(&self) -> Result<&'t [Node], Mistake> {
        let calls = self.node.field("inbound_nodes").and_then(Node::list);
        calls.ok_or_else(|| Mistake::new("`inbound_nodes` is missing: how it is called"))
    }

    /// The type of its parameters, and the one it computes in. Errors: no such type, or not one of floats.
    pub fn dtypes(&self, default: (DType, DType)) -> Result<(DType, DType), Mistake> {
        let Some(node) = self.config.field("dtype").filter(|node| node.kind != Kind::Null) else { return Ok(default) };
        let policy = node.text().or_else(|| node.field("config")?.field("name")?.text());
        let policy = policy.ok_or_else(|| Mistake::new("its `dtype` is neither a name nor a policy"))?;
        if let Some(compute) = policy.strip_prefix("mixed_") {
            let compute = element_type(compute)?;
            return if compute.is_float() {
                Ok((DType::F32, compute))
            } else {
                Err(Mistake::new(format!("there is no policy `{policy}`")))
            };
        }
        let dtype = element_type(policy)?;
        if !dtype.is_float() {
            return Err(Mistake::new(format!("it computes in {policy}; layers that compute in floats are supported")));
        }
        Ok((dtype, dtype))
    }

    /// The shape of what comes in, where it is known: whole numbers, and `None` for what stays open. Errors: another value.
    pub fn batch_shape(&self) -> Result<Option<Vec<Option<usize>>>, Mistake> {
        let said = ["batch_shape", "batch_input_shape", "build_input_shape"].iter().find_map(|name| self.config.field(name));
        let built = || self.node.field("build_config")?.field("input_shape");
        let Some(node) = said.filter(|node| node.kind != Kind::Null).or_else(built).filter(|node| node.kind != Kind::Null) else {
            return Ok(None);
        };
        let items = node.list().ok_or_else(|| Mistake::new("its shape is no list"))?;
        let size = |item: &Node| match (&item.kind, item.integer().and_then(|n| u32::try_from(n).ok())) {
            (Kind::Null, _) => Ok(None),
            (_, Some(size)) => Ok(Some(size as usize)),
            _ => Err(Mistake::new("its shape holds something that is no size")),
        };
        items.iter().map(size).collect::<Result<Vec<_>, _>>().map(Some)
    }
}

/// An element type by Keras's name. Errors: no such type, or one that is no number.
pub fn element_type(name: &str) -> Result<DType, Mistake> {
    Ok(match name {
        "float32" => DType::F32,
        "float64" => DType::F64,
        "float16" => DType::F16,
        "bfloat16" => DType::BF16,
        "int8" => DType::I8,
        "int16" => DType::I16,
        "int32" => DType::I32,
        "int64" => DType::I64,
        "uint8" => DType::U8,
        "uint16" => DType::U16,
        "uint32" => DType::U32,
        "uint64" => DType::U64,
        "bool" => DType::Bool,
        _ => {
            let mistake = Mistake::new(format!("the element type `{name}` is not supported"));
            return Err(mistake.help("float32, float64, float16, bfloat16, whole numbers and bool are"));
        }
    })
}

/// A value of the graph as configs refer to it: layer, call, result.
pub type Reference<'t> = (&'t str, usize, usize);

/// Reads `["layer", call, result]`. Errors: it is something else.
pub fn reference(node: &Node) -> Result<Reference<'_>, Mistake> {
    let wrong = || Mistake::new("a reference to a layer is no [name, call, result]");
    let items = node.list().filter(|items| items.len() >= 3).ok_or_else(wrong)?;
    let name = items[0].text().ok_or_else(wrong)?;
    let mut positions = Vec::new();
    for item in &items[1..3] {
        positions.push(usize::try_from(integers(item, "call")?[0]).map_err(|_| wrong())?);
    }
    Ok((name, positions[0], positions[1]))
}
