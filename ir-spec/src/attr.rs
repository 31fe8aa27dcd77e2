//! Operator attributes as data, so that the text form, substitution of dims and documentation need no code per operator.

use crate::{DType, Dim, Graph};
use std::collections::BTreeMap;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

/// The value of an attribute.
#[derive(Clone, PartialEq, Debug)]
pub enum Attr {
    /// A dim or an integer.
    Dim(Dim),
    /// A floating-point number.
    Real(f64),
    /// `true` or `false`.
    Bool(bool),
    /// A bare word: an element type, a mode.
    Word(String),
    /// Several values.
    List(Vec<Attr>),
    /// A region: the body of a scan.
    Graph(Arc<Graph>),
}

impl Attr {
    /// What it is, in a few words, for messages.
    pub fn describe(&self) -> String {
        match self {
            Attr::Dim(d) => format!("`{d}`"),
            Attr::Real(r) => format!("`{r:?}`"),
            Attr::Bool(b) => format!("`{b}`"),
            Attr::Word(w) => format!("`{w}`"),
            Attr::List(_) => "a list".to_string(),
            Attr::Graph(_) => "a region".to_string(),
        }
    }
}

/// Attributes by name, as the parser found them.
pub type AttrMap = BTreeMap<String, Attr>;

/// What is known of an attribute without its operator.
#[derive(Clone, Copy, Debug)]
pub struct Field {
    /// Its name.
    pub name: &'static str,
    /// Its documentation.
    pub docs: &'static str,
    /// See [`AttrValue::kind`].
    pub kind: fn() -> String,
}

/// What `op!` derives for every operator.
pub trait Attributes: Sized {
    /// Its attributes in declaration order.
    const FIELDS: &'static [Field];
    /// Names and values in declaration order.
    fn to_attrs(&self) -> Vec<(&'static str, Attr)>;
    /// Takes its attributes out of the map. Errors: a missing attribute or one of another kind.
    fn from_attrs(attrs: &mut AttrMap) -> Result<Self, String>;
    /// Applies `f` to every dim inside.
    fn map_dims(&mut self, f: &mut dyn FnMut(&Dim) -> Dim);
}

/// A Rust type that can be an attribute.
pub trait AttrValue: Sized {
    /// What may stand in the text form: `dim`, `list of integer`, `one of constant, edge`.
    fn kind() -> String;
    /// As data.
    fn to_attr(&self) -> Attr;
    /// From data. Errors: what was expected.
    fn from_attr(attr: Attr) -> Result<Self, String>;
    /// Applies `f` to every dim inside.
    fn map_dims(&mut self, f: &mut dyn FnMut(&Dim) -> Dim);
}

/// An `f64` attribute, compared and hashed by its bits.
#[derive(Clone, Copy, Debug)]
pub struct Real(pub f64);

impl PartialEq for Real {
    fn eq(&self, other: &Real) -> bool {
        self.0.to_bits() == other.0.to_bits()
    }
}

impl Eq for Real {}

impl Hash for Real {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.to_bits().hash(state);
    }
}

impl From<f64> for Real {
    fn from(value: f64) -> Real {
        Real(value)
    }
}

impl AttrValue for Dim {
    fn kind() -> String {
        "dim".into()
    }
    fn to_attr(&self) -> Attr {
        Attr::Dim(self.clone())
    }
    fn from_attr(attr: Attr) -> Result<Self, String> {
        match attr {
            Attr::Dim(d) => Ok(d),
            // The text form cannot tell a symbol alone from a mode.
            Attr::Word(w) => Ok(Dim::symbol(&w)),
            other => Err(format!("expected a dim, found {}", other.describe())),
        }
    }
    fn map_dims(&mut self, f: &mut dyn FnMut(&Dim) -> Dim) {
        *self = f(self);
    }
}

macro_rules! integer_attr {
    ($($ty:ty),*) => {$(
        impl AttrValue for $ty {
            fn kind() -> String {
        "integer".into()
    }
    fn to_attr(&self) -> Attr {
                Attr::Dim(Dim::from(i64::try_from(*self).unwrap_or(i64::MAX)))
            }
            fn from_attr(attr: Attr) -> Result<Self, String> {
                match &attr {
                    Attr::Dim(d) => d.as_const().and_then(|c| <$ty>::try_from(c).ok()).ok_or_else(|| format!("expected a constant {}, found {d}", stringify!($ty))),
                    other => Err(format!("expected an integer, found {}", other.describe())),
                }
            }
            fn map_dims(&mut self, _: &mut dyn FnMut(&Dim) -> Dim) {}
        }
    )*};
}
integer_attr!(usize, i64, u32);

impl AttrValue for Real {
    fn kind() -> String {
        "real".into()
    }
    fn to_attr(&self) -> Attr {
        Attr::Real(self.0)
    }
    fn from_attr(attr: Attr) -> Result<Self, String> {
        match attr {
            Attr::Real(r) => Ok(Real(r)),
            Attr::Dim(d) => d.as_const().map(|c| Real(c as f64)).ok_or_else(|| format!("expected a number, found {d}")),
            other => Err(format!("expected a number, found {}", other.describe())),
        }
    }
    fn map_dims(&mut self, _: &mut dyn FnMut(&Dim) -> Dim) {}
}

impl AttrValue for bool {
    fn kind() -> String {
        "true or false".into()
    }
    fn to_attr(&self) -> Attr {
        Attr::Bool(*self)
    }
    fn from_attr(attr: Attr) -> Result<Self, String> {
        match attr {
            Attr::Bool(b) => Ok(b),
            other => Err(format!("expected true or false, found {}", other.describe())),
        }
    }
    fn map_dims(&mut self, _: &mut dyn FnMut(&Dim) -> Dim) {}
}

impl AttrValue for DType {
    fn kind() -> String {
        "element type".into()
    }
    fn to_attr(&self) -> Attr {
        Attr::Word(self.name().to_string())
    }
    fn from_attr(attr: Attr) -> Result<Self, String> {
        match &attr {
            Attr::Word(w) => DType::from_name(w).ok_or_else(|| format!("no element type `{w}`")),
            other => Err(format!("expected an element type, found {}", other.describe())),
        }
    }
    fn map_dims(&mut self, _: &mut dyn FnMut(&Dim) -> Dim) {}
}

impl AttrValue for Arc<Graph> {
    fn kind() -> String {
        "region".into()
    }
    fn to_attr(&self) -> Attr {
        Attr::Graph(self.clone())
    }
    fn from_attr(attr: Attr) -> Result<Self, String> {
        match attr {
            Attr::Graph(g) => Ok(g),
            other => Err(format!("expected a region, found {}", other.describe())),
        }
    }
    fn map_dims(&mut self, f: &mut dyn FnMut(&Dim) -> Dim) {
        *self = Arc::new(Graph::map_dims(self, f));
    }
}

impl<T: AttrValue> AttrValue for Vec<T> {
    fn kind() -> String {
        format!("list of {}", T::kind())
    }
    fn to_attr(&self) -> Attr {
        Attr::List(self.iter().map(T::to_attr).collect())
    }
    fn from_attr(attr: Attr) -> Result<Self, String> {
        match attr {
            Attr::List(items) => items.into_iter().map(T::from_attr).collect(),
            other => Err(format!("expected a list, found {}", other.describe())),
        }
    }
    fn map_dims(&mut self, f: &mut dyn FnMut(&Dim) -> Dim) {
        self.iter_mut().for_each(|item| item.map_dims(f));
    }
}

impl<T: AttrValue> AttrValue for Option<T> {
    fn kind() -> String {
        format!("{} or none", T::kind())
    }
    fn to_attr(&self) -> Attr {
        match self {
            Some(value) => value.to_attr(),
            None => Attr::Word("none".into()),
        }
    }
    fn from_attr(attr: Attr) -> Result<Self, String> {
        match attr {
            Attr::Word(w) if w == "none" => Ok(None),
            other => T::from_attr(other).map(Some),
        }
    }
    fn map_dims(&mut self, f: &mut dyn FnMut(&Dim) -> Dim) {
        if let Some(value) = self {
            value.map_dims(f);
        }
    }
}

/// Declares an operator's struct; its fields are its attributes.
#[macro_export]
macro_rules! op {
    ($(#[$meta:meta])* pub struct $name:ident { $($(#[doc = $docs:literal])+ pub $field:ident: $ty:ty),* $(,)? }) => {
        $(#[$meta])*
        #[derive(Clone, PartialEq, Eq, Hash, Debug)]
        pub struct $name { $($(#[doc = $docs])+ pub $field: $ty),* }
        impl $crate::attr::Attributes for $name {
            const FIELDS: &'static [$crate::attr::Field] = &[$($crate::attr::Field {
                name: stringify!($field),
                docs: concat!($($docs),+),
                kind: <$ty as $crate::attr::AttrValue>::kind,
            }),*];
            fn to_attrs(&self) -> Vec<(&'static str, $crate::attr::Attr)> {
                vec![$((stringify!($field), $crate::attr::AttrValue::to_attr(&self.$field))),*]
            }
            #[allow(unused_variables)]
            fn from_attrs(attrs: &mut $crate::attr::AttrMap) -> Result<Self, String> {
                $(let $field = match attrs.remove(stringify!($field)) {
                    Some(attr) => $crate::attr::AttrValue::from_attr(attr).map_err(|e| format!("attribute `{}`: {e}", stringify!($field)))?,
                    None => return Err(format!("attribute `{}` is missing", stringify!($field))),
                };)*
                Ok($name { $($field),* })
            }
            #[allow(unused_variables)]
            fn map_dims(&mut self, f: &mut dyn FnMut(&$crate::Dim) -> $crate::Dim) {
                $($crate::attr::AttrValue::map_dims(&mut self.$field, f);)*
            }
        }
    };
}

/// Declares a mode: an enum whose values are bare words in the text form.
#[macro_export]
macro_rules! mode {
    ($(#[$meta:meta])* pub enum $name:ident { $($(#[$variant_meta:meta])* $variant:ident = $word:literal),* $(,)? }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
        pub enum $name { $($(#[$variant_meta])* $variant),* }
        impl $name {
            /// Every value, in declaration order.
            pub const ALL: &[$name] = &[$($name::$variant),*];
            /// The word in the text form.
            pub const fn word(self) -> &'static str {
                match self { $($name::$variant => $word),* }
            }
        }
        impl $crate::attr::AttrValue for $name {
            fn kind() -> String {
        format!("one of {}", [$($word),*].join(", "))
    }
    fn to_attr(&self) -> $crate::attr::Attr {
                $crate::attr::Attr::Word(self.word().to_string())
            }
            fn from_attr(attr: $crate::attr::Attr) -> Result<Self, String> {
                match &attr {
                    $($crate::attr::Attr::Word(w) if w == $word => Ok($name::$variant),)*
                    other => Err(format!("expected one of {}, found {}", [$($word),*].join(", "), other.describe())),
                }
            }
            fn map_dims(&mut self, _: &mut dyn FnMut(&$crate::Dim) -> $crate::Dim) {}
        }
    };
}
