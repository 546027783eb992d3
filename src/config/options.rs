//! Macros that declare a group of options once: its struct, its decoding, and its table for schema and documentation.

/// Declares a struct of options. Each entry is one of
///
/// ```text
/// pub field: Type = required,                    // must be set
/// pub field: Type = default,                     // an expression, which can use earlier options
/// pub field: Type = default => "in words",       // documents a default that depends on something
/// pub field: Type = nested,                      // another such struct, in a table of its own
/// pub field: Type = flattened,                   // another such struct, in this same table
/// pub field: Type = from |view| expression,      // an `Option` of earlier options; `None`: a problem was reported
/// let name: Type = …,                            // an option (or a `nested` struct) that is no field, for a later `from`
/// ```
///
/// A key that differs from the field's name is given as `field("dotted.key")`, and a syntax other than the type's own as
/// `Type as Form`. In later expressions, required, nested, flattened and `from` fields are `Option`s.
macro_rules! options {
    ($(#[$attr:meta])* pub struct $name:ident $(: $default:ident)? { $($body:tt)* }) => {
        $crate::config::options::options! {
            @next [$name view out] [$($default)?] [$(#[$attr])*] [] [] [] [] $($body)*
        }
    };

    (@next $n:tt $d:tt $a:tt [$($fields:tt)*] [$($reads:tt)*] [$($docs:tt)*] [$($inits:tt)*]
     $(#[doc = $doc:literal])* pub $field:ident: $type:ty = nested, $($rest:tt)*) => {
        $crate::config::options::options! { @nested $n
            $d $a [$($fields)* $(#[doc = $doc])* pub $field: $type,] [$($reads)*] [$($docs)*]
            [$($inits)* $field: $field?,] $field [$type] $($rest)* }
    };
    (@next $n:tt $d:tt $a:tt $f:tt [$($reads:tt)*] [$($docs:tt)*] $i:tt
     $(#[doc = $doc:literal])* let $field:ident: $type:ty = nested, $($rest:tt)*) => {
        $crate::config::options::options! { @nested $n
            $d $a $f [$($reads)*] [$($docs)*] $i $field [$type] $($rest)* }
    };
    (@nested [$name:ident $view:ident $out:ident] $d:tt $a:tt $f:tt [$($reads:tt)*] [$($docs:tt)*] $i:tt
     $field:ident [$type:ty] $($rest:tt)*) => {
        $crate::config::options::options! { @next [$name $view $out] $d $a $f
            [$($reads)* let $field = <$type as $crate::config::decode::Options>::read(
                &$view.within(stringify!($field)));]
            [$($docs)* $out.extend(<$type as $crate::config::decode::Options>::options()
                .into_iter().map(|option| option.within(stringify!($field))));]
            $i $($rest)* }
    };

    (@next [$name:ident $view:ident $out:ident] $d:tt $a:tt [$($fields:tt)*] [$($reads:tt)*] [$($docs:tt)*] [$($inits:tt)*]
     $(#[doc = $doc:literal])* pub $field:ident: $type:ty = flattened, $($rest:tt)*) => {
        $crate::config::options::options! { @next [$name $view $out] $d $a
            [$($fields)* $(#[doc = $doc])* pub $field: $type,]
            [$($reads)* let $field = <$type as $crate::config::decode::Options>::read($view);]
            [$($docs)* $out.extend(<$type as $crate::config::decode::Options>::options());]
            [$($inits)* $field: $field?,] $($rest)* }
    };

    (@next [$name:ident $view:ident $out:ident] $d:tt $a:tt [$($fields:tt)*] [$($reads:tt)*] $docs:tt [$($inits:tt)*]
     $(#[doc = $doc:literal])* pub $field:ident: $type:ty = from |$v:ident| $make:expr, $($rest:tt)*) => {
        $crate::config::options::options! { @next [$name $view $out] $d $a
            [$($fields)* $(#[doc = $doc])* pub $field: $type,]
            [$($reads)* let $field: Option<$type> = { let $v = $view; $make };]
            $docs [$($inits)* $field: $field?,] $($rest)* }
    };

    (@next $n:tt $d:tt $a:tt [$($fields:tt)*] $r:tt $docs:tt [$($inits:tt)*]
     $(#[doc = $doc:literal])* pub $field:ident $(($key:literal))?: $type:ty $(as $form:ty)? = required,
     $($rest:tt)*) => {
        $crate::config::options::options! { @required $n $d $a
            [$($fields)* $(#[doc = $doc])* pub $field: $type,] $r $docs [$($inits)* $field: $field?,]
            [$($doc)*] $field [$($key)?] [$type] [$($form)?] $($rest)* }
    };
    (@next $n:tt $d:tt $a:tt $f:tt $r:tt $docs:tt $i:tt
     $(#[doc = $doc:literal])* let $field:ident $(($key:literal))?: $type:ty $(as $form:ty)? = required,
     $($rest:tt)*) => {
        $crate::config::options::options! { @required $n $d $a $f $r $docs $i
            [$($doc)*] $field [$($key)?] [$type] [$($form)?] $($rest)* }
    };
    (@required [$name:ident $view:ident $out:ident] $d:tt $a:tt $f:tt [$($reads:tt)*] [$($docs:tt)*] $i:tt
     [$($doc:literal)*] $field:ident $key:tt $type:tt $form:tt $($rest:tt)*) => {
        $crate::config::options::options! { @next [$name $view $out] $d $a $f
            [$($reads)* let $field = $view.required::<$crate::config::options::options!(@form $type $form)>(
                $crate::config::options::options!(@key $field $key));]
            [$($docs)* $out.push($crate::config::option_doc::OptionDoc::of::<
                $crate::config::options::options!(@form $type $form)>(
                $crate::config::options::options!(@key $field $key), &[$($doc),*],
                $crate::config::option_doc::Need::Required));]
            $i $($rest)* }
    };

    (@next $n:tt $d:tt $a:tt [$($fields:tt)*] $r:tt $docs:tt [$($inits:tt)*]
     $(#[doc = $doc:literal])* pub $field:ident $(($key:literal))?: $type:ty $(as $form:ty)?
     = $value:expr $(=> $words:literal)?, $($rest:tt)*) => {
        $crate::config::options::options! { @default $n $d $a
            [$($fields)* $(#[doc = $doc])* pub $field: $type,] $r $docs [$($inits)* $field,]
            [$($doc)*] $field [$($key)?] [$type] [$($form)?] [$value] [$($words)?] $($rest)* }
    };
    (@next $n:tt $d:tt $a:tt $f:tt $r:tt $docs:tt $i:tt
     $(#[doc = $doc:literal])* let $field:ident $(($key:literal))?: $type:ty $(as $form:ty)?
     = $value:expr $(=> $words:literal)?, $($rest:tt)*) => {
        $crate::config::options::options! { @default $n $d $a $f $r $docs $i
            [$($doc)*] $field [$($key)?] [$type] [$($form)?] [$value] [$($words)?] $($rest)* }
    };
    (@default [$name:ident $view:ident $out:ident] $d:tt $a:tt $f:tt [$($reads:tt)*] [$($docs:tt)*] $i:tt
     [$($doc:literal)*] $field:ident $key:tt [$type:ty] $form:tt [$value:expr] $words:tt $($rest:tt)*) => {
        $crate::config::options::options! { @next [$name $view $out] $d $a $f
            [$($reads)* let $field: $type = $view.optional::<$crate::config::options::options!(@form [$type] $form)>(
                $crate::config::options::options!(@key $field $key)).unwrap_or_else(|| $value);]
            [$($docs)* $out.push($crate::config::option_doc::OptionDoc::of::<
                $crate::config::options::options!(@form [$type] $form)>(
                $crate::config::options::options!(@key $field $key), &[$($doc),*],
                $crate::config::option_doc::Need::Default(
                    $crate::config::options::options!(@words [$type] $form [$value] $words))));]
            $i $($rest)* }
    };

    (@next [$name:ident $view:ident $out:ident] [$($default:ident)?] [$($attrs:tt)*] [$($fields:tt)*]
     [$($reads:tt)*] [$($docs:tt)*] [$($inits:tt)*]) => {
        $($attrs)*
        pub struct $name { $($fields)* }

        impl $crate::config::decode::Options for $name {
            fn read($view: &$crate::config::decode::View<'_>) -> Option<Self> {
                $($reads)*
                Some(Self { $($inits)* })
            }

            #[allow(clippy::vec_init_then_push, reason = "one push an option, made by the macro")]
            fn options() -> Vec<$crate::config::option_doc::OptionDoc> {
                let mut $out = Vec::new();
                $($docs)*
                $out
            }
        }

        $(impl $default for $name {
            /// The struct decoded from an empty table.
            fn default() -> Self {
                $crate::config::decode::empty().expect("every option in it has a default")
            }
        })?
    };

    (@key $field:ident []) => { stringify!($field) };
    (@key $field:ident [$key:literal]) => { $key };
    (@form [$type:ty] []) => { $type };
    (@form [$type:ty] [$form:ty]) => { $form };
    (@words $type:tt $form:tt [$value:expr] []) => {
        <$crate::config::options::options!(@form $type $form) as $crate::config::form::Form>::written(&$value)
    };
    (@words $type:tt $form:tt [$value:expr] [$words:literal]) => { $words.to_owned() };
}

/// Declares an enum whose variants are words in the configuration: `pub enum Name = Default { Variant = "word", }`.
macro_rules! choices {
    ($(#[doc = $about:literal])* pub enum $name:ident = $default:ident {
        $($(#[doc = $doc:literal])* $variant:ident = $word:literal $(| $also:literal)*,)*
    }) => {
        $(#[doc = $about])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum $name { $($(#[doc = $doc])* $variant,)* }

        impl Default for $name {
            fn default() -> Self {
                Self::$default
            }
        }

        impl $name {
            /// All valid words, in the order of the documentation.
            pub const NAMES: &'static [&'static str] = &[$($word, $($also,)*)*];

            pub fn from_name(name: &str) -> Option<Self> {
                match name { $($word $(| $also)* => Some(Self::$variant),)* _ => None }
            }

            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $word,)* }
            }
        }

        impl $crate::config::form::Form for $name {
            type Value = Self;

            fn expected() -> String {
                format!("one of {}", Self::NAMES.join(", "))
            }

            fn kind() -> String {
                $crate::config::form::choices_in_words(&[
                    $((concat!($word, $("` or `", $also,)*), &[$($doc),*]),)*
                ])
            }

            fn parse(text: &str) -> Result<Self, String> {
                let name = text.to_ascii_lowercase();
                Self::from_name(&name).ok_or_else(|| $crate::config::form::not_one_of(text, Self::NAMES))
            }

            fn written(value: &Self) -> String {
                value.name().to_owned()
            }

            fn schema() -> serde_json::Value {
                serde_json::json!({"anyOf": [{"enum": Self::NAMES}, {"type": "string", "pattern": r"\$\{"}]})
            }
        }
    };
}

pub(crate) use choices;
pub(crate) use options;
