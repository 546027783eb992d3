//! Kinds of sources and sinks, as the configuration knows them: `kinds!` registers each in one line. The half that runs is
//! registered in `source::registry` and `sink::registry`.

use std::marker::PhantomData;

use super::{
    decode::{Options, View},
    form::{Form, not_one_of},
    option_doc::OptionDoc,
    url::Urls,
};

/// Descriptor of one kind: everything that is known of it without its options. `T` is the enum of all kinds.
pub(crate) struct Kind<T> {
    /// The word after `type:`.
    pub name: &'static str,
    /// Lines of the description in `docs/configuration.md`.
    pub about: &'static [&'static str],
    pub options: fn() -> Vec<OptionDoc>,
    /// Reads the options from the table that `type` is in.
    pub read: fn(&View<'_>) -> Option<T>,
    pub urls: Urls,
}

/// The options of one kind.
pub(crate) trait KindOptions: Options {
    const URLS: Urls;

    /// Checks the options against each other; false if a problem was reported.
    fn is_sensible(&self, view: &View<'_>) -> bool;
}

/// An enum made by `kinds!`.
pub(crate) trait Kinds: Sized + 'static {
    /// One descriptor per kind, in the order of the documentation.
    const ALL: &'static [Kind<Self>];
}

/// Reads `type`, and the options of that kind. `None` only if a problem was reported.
pub(crate) fn read<T: Kinds>(view: &View<'_>) -> Option<T> {
    let Some(kind) = view.required::<Type<T>>("type") else {
        view.give_up();
        return None;
    };
    (kind.read)(view)
}

/// The word after `type:`.
struct Type<T>(PhantomData<T>);

impl<T: Kinds> Type<T> {
    fn names() -> Vec<&'static str> {
        T::ALL.iter().map(|kind| kind.name).collect()
    }
}

impl<T: Kinds> Form for Type<T> {
    type Value = &'static Kind<T>;

    fn expected() -> String {
        format!("one of {}", Self::names().join(", "))
    }

    fn parse(text: &str) -> Result<Self::Value, String> {
        let kind = T::ALL.iter().find(|kind| kind.name.eq_ignore_ascii_case(text));
        kind.ok_or_else(|| not_one_of(text, &Self::names()))
    }

    fn written(kind: &Self::Value) -> String {
        kind.name.to_owned()
    }
}

/// Declares the enum of all kinds: `Variant(Stored): Options = "word after type"`, where `Stored` is `Options` or a box of
/// it. `Options` is declared with `options!`, and implements [`KindOptions`] and the trait that is given.
macro_rules! kinds {
    ($(#[doc = $about:literal])* pub enum $name:ident: $trait:ident {
        $($(#[doc = $doc:literal])* $kind:ident($stored:ty): $options:ty = $word:literal,)*
    }) => {
        $(#[doc = $about])*
        #[derive(Debug, Clone)]
        pub enum $name { $($(#[doc = $doc])* $kind($stored),)* }

        impl $name {
            /// The word after `type:`, which is the label `component_type` of metrics, too.
            pub fn type_name(&self) -> &'static str {
                match self { $(Self::$kind(_) => $word,)* }
            }

            /// The options of its kind.
            pub fn options(&self) -> &dyn $trait {
                match self { $(Self::$kind(stored) => { let options: &$options = stored; options })* }
            }
        }

        impl $crate::config::kinds::Kinds for $name {
            const ALL: &'static [$crate::config::kinds::Kind<Self>] = &[$($crate::config::kinds::Kind {
                name: $word,
                about: &[$($doc),*],
                options: <$options as $crate::config::decode::Options>::options,
                read: |view| {
                    let options = <$options as $crate::config::decode::Options>::read(view);
                    let sensible = options.filter(|options| {
                        $crate::config::kinds::KindOptions::is_sensible(options, view)
                    });
                    sensible.map(Into::into).map(Self::$kind)
                },
                urls: <$options as $crate::config::kinds::KindOptions>::URLS,
            },)*];
        }
    };
}

pub(crate) use kinds;
