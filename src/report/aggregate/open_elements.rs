//! Maps tags to elements of the schema that begin or end, tolerating missing, misspelt and unclosed tags.

use std::borrow::Cow;

use quick_xml::events::BytesStart;

use super::elements::{Node, is_same_name, is_telling};
use crate::report::warnings::Repair;

/// The open elements, outermost first; never deeper than `limits.xml_depth`.
#[derive(Default)]
pub struct Tree {
    open: Vec<Element>,
    /// Namespaces declared by open elements: depth, prefix, name.
    declared: Vec<(usize, String, String)>,
}

pub struct Element {
    /// Name without a prefix: as the schema spells it, or as in the document for an element that is not in the schema.
    pub name: Cow<'static, str>,
    pub node: Node,
    /// Namespace of an extension, unless it is the report's.
    pub namespace: Option<String>,
}

impl Element {
    pub fn known(name: &'static str, node: Node) -> Self {
        Self { name: name.into(), node, namespace: None }
    }

    pub fn unknown(name: &str) -> Self {
        Self { name: name.to_owned().into(), node: Node::Unknown, namespace: None }
    }

    /// True for an element that may be nothing but a wrapper around elements of the schema. RFC 9990's `extension` is not.
    fn may_wrap(&self) -> bool {
        matches!(self.node, Node::Unknown) && !self.name.eq_ignore_ascii_case("extension")
    }

    /// An element that wraps the report.
    pub fn around(name: &str) -> Self {
        Self { node: Node::Skipped, ..Self::unknown(name) }
    }
}

/// Position of a new element.
pub struct Place {
    pub element: Element,
    /// Number of open elements that must be closed before it.
    pub unclosed: usize,
    pub wrapper: Wrapper,
}

impl Place {
    fn within(element: Element, unclosed: usize) -> Self {
        Self { element, unclosed, wrapper: Wrapper::No }
    }
}

/// Relation of the innermost open element to the new one.
pub enum Wrapper {
    /// Its parent.
    No,
    /// An element around it that is not in the schema.
    Unknown,
    /// This element of the schema under another name, as it has a child of that element.
    Renamed(Node),
}

/// Maximum number of declared namespaces, and maximum length of one in bytes. No report comes near.
const NAMESPACES: usize = 64;
const NAMESPACE_BYTES: usize = 1024;

impl Tree {
    pub fn depth(&self) -> usize {
        self.open.len()
    }

    pub fn top(&self) -> Node {
        self.open.last().map_or(Node::Skipped, |element| element.node)
    }

    pub fn top_namespace(&self) -> Option<&str> {
        self.open.last().and_then(|element| element.namespace.as_deref())
    }

    /// Path of the open elements within `feedback`: their names, separated by slashes.
    pub fn path(&self) -> String {
        self.names().collect::<Vec<_>>().join("/")
    }

    /// Length of [`Tree::path`].
    pub fn path_bytes(&self) -> usize {
        self.names().map(|name| name.len() + 1).sum::<usize>().saturating_sub(1)
    }

    fn names(&self) -> impl Iterator<Item = &str> {
        let within = self.open.iter().skip_while(|element| !matches!(element.node, Node::Feedback)).skip(1);
        within.map(|element| &*element.name)
    }

    pub fn top_name(&self) -> &str {
        self.open.last().map_or("", |element| &element.name)
    }

    /// The text element that a text belongs to, even if the text is within markup that a reporter left unescaped in it.
    pub fn text_owner(&self) -> Option<&Element> {
        self.open.iter().rev().find(|element| element.node.is_in_schema()).filter(|element| element.node.is_text())
    }

    pub fn push(&mut self, element: Element) {
        self.open.push(element);
    }

    pub fn pop(&mut self) -> Option<Element> {
        let popped = self.open.pop();
        self.declared.retain(|(depth, ..)| *depth < self.open.len());
        popped
    }

    /// Finds the position of a new element by its name.
    ///
    /// A text element has no children, so an element that its parent knows closes it. A container is closed only by the
    /// start of another container that can't be its child; unknown elements close nothing.
    pub fn place(&self, name: &str) -> Place {
        let in_text = self.top().is_text();
        let known = self.open.iter().rev().take_while(|element| element.node.is_in_schema()).enumerate();
        let mut fitting = known.filter_map(|(above, element)| Some((above, element.node.child(name)?)));
        let place = fitting.find(|(above, (_, node))| !node.is_text() || *above == 0 || (in_text && *above == 1));
        match place {
            Some((above, (name, node))) => Place::within(Element::known(name, node), above),
            None => Place::within(Element::unknown(name), 0),
        }
    }

    /// Like [`Tree::place`], within an element that is not in the schema: such an element may be a wrapper around elements of
    /// the schema (`<records>`), or one of them under another name.
    pub fn place_in_unknown(&self, name: &str) -> Place {
        let wrappers = self.open.iter().rev().take_while(|element| element.may_wrap()).count();
        let around = &self.open[..self.open.len() - wrappers];
        let known = around.iter().rev().take_while(|element| element.node.is_in_schema() && !element.node.is_text());
        let list_of =
            |known: &str| self.top_name().get(..known.len()).is_some_and(|name| name.eq_ignore_ascii_case(known));
        let mut fitting = known.enumerate().filter_map(|(above, element)| {
            let (known, node) = element.node.child(name)?;
            (is_telling(known) || (above == 0 && list_of(known))).then_some((above, known, node))
        });
        let renamed = || around.last().and_then(|parent| parent.node.container_of(name));
        match (wrappers, fitting.next()) {
            // A row in an element of the report: that element is the record.
            (1.., Some((0, "row", node @ Node::Record))) => {
                Place { element: Element::unknown(name), unclosed: 0, wrapper: Wrapper::Renamed(node) }
            }
            (1.., Some((0, name, node))) => {
                Place { element: Element::known(name, node), unclosed: 0, wrapper: Wrapper::Unknown }
            }
            (1.., _) if let Some(node) = renamed() => {
                Place { element: Element::unknown(name), unclosed: 0, wrapper: Wrapper::Renamed(node) }
            }
            (1.., Some((above, name, node))) => Place::within(Element::known(name, node), wrappers + above),
            _ => Place::within(Element::unknown(name), 0),
        }
    }

    /// Takes the innermost element, which is not in the schema, for `node`.
    pub fn rename_top(&mut self, node: Node) {
        if let Some(element) = self.open.last_mut() {
            element.node = node;
        }
    }

    /// True if a row is open.
    pub fn is_in_row(&self) -> bool {
        self.open.iter().any(|element| matches!(element.node, Node::Row))
    }

    /// Number of elements that an end tag closes: it closes the nearest open one of its name. Zero if there is none.
    pub fn ended_by(&self, name: &str) -> usize {
        self.open.iter().rev().position(|element| is_same_name(&element.name, name)).map_or(0, |above| above + 1)
    }

    /// Namespace of the tag's name.
    pub fn namespace(&self, tag: &BytesStart) -> Option<String> {
        let prefix = tag.name().prefix().map_or(String::new(), |prefix| prefix.into_inner().to_owned());
        let own = declarations(tag).find(|(declared, _)| *declared == prefix).map(|(_, name)| name);
        let outer = || self.declared.iter().rev().find(|(_, declared, _)| *declared == prefix);
        own.or_else(|| outer().map(|(.., name)| name.clone())).filter(|name| !name.is_empty())
    }

    /// True for a prefixed name in a declared namespace that is neither the report's `own` nor one of the schema's: that is
    /// no element of the schema, whatever its name. Unprefixed names are not checked, since reporters declare all kinds of
    /// default namespaces.
    pub fn is_foreign(&self, tag: &BytesStart, own: Option<&str>) -> bool {
        tag.name().prefix().is_some()
            && self.namespace(tag).is_some_and(|name| Some(name.as_str()) != own && !is_of_schema(&name))
    }

    /// True for a name in the namespace of the report, in one of the schema's or in none.
    pub fn is_of_report(&self, tag: &BytesStart, own: Option<&str>) -> bool {
        self.namespace(tag).is_none_or(|name| Some(name.as_str()) == own || is_of_schema(&name))
    }

    /// Records the namespaces that an element declares; called before it is pushed.
    pub fn declare(&mut self, tag: &BytesStart) {
        if tag.attributes_raw().is_empty() {
            return;
        }
        let depth = self.open.len();
        let room = NAMESPACES.saturating_sub(self.declared.len());
        self.declared.extend(declarations(tag).take(room).map(|(prefix, name)| (depth, prefix, name)));
    }
}

/// True for the namespaces of RFC 9990 and RFC 7489, and of the drafts between them.
fn is_of_schema(namespace: &str) -> bool {
    namespace == "urn:ietf:params:xml:ns:dmarc-2.0" || namespace.starts_with("http://dmarc.org/dmarc-xml/")
}

/// Prefix (empty for the default namespace) and name of each namespace that a tag declares.
fn declarations(tag: &BytesStart) -> impl Iterator<Item = (String, String)> {
    all_attributes(tag).filter_map(|(key, name)| {
        let prefix = declared_prefix(key)?;
        let name = unescaped(&name);
        (prefix.len() + name.len() <= NAMESPACE_BYTES).then(|| (prefix.to_owned(), name))
    })
}

/// Names, without prefixes, and values of a tag's attributes, except namespace declarations.
pub fn attributes<'t>(tag: &'t BytesStart) -> impl Iterator<Item = (&'t str, String)> {
    all_attributes(tag)
        .filter(|(key, _)| declared_prefix(key).is_none())
        .map(|(key, value)| (key.rsplit_once(':').map_or(key, |(_, name)| name), unescaped(&value)))
}

/// Like [`attributes`], only those without a prefix: `xsi:type` is about XML.
pub fn unprefixed_attributes<'t>(tag: &'t BytesStart) -> impl Iterator<Item = (&'t str, String)> {
    all_attributes(tag)
        .filter(|(key, _)| *key != "xmlns" && !key.contains(':'))
        .map(|(key, value)| (key, unescaped(&value)))
}

fn all_attributes<'t>(tag: &'t BytesStart) -> impl Iterator<Item = (&'t str, Cow<'t, str>)> {
    let mut attributes = tag.attributes();
    // The check for repeated names is quadratic in the number of attributes.
    attributes.with_checks(false);
    attributes.flatten().map(|attribute| (attribute.key.into_inner(), attribute.value))
}

fn declared_prefix(key: &str) -> Option<&str> {
    if key == "xmlns" { Some("") } else { key.strip_prefix("xmlns:") }
}

fn unescaped(value: &str) -> String {
    let value = value.trim();
    quick_xml::escape::unescape(value).map_or(value.to_owned(), |value| value.into_owned())
}

/// Removes the remains of the element's own end tag from a text, as in `<begin>1745177243/begin>` (kddi.com, 2025).
pub fn without_end_tag<'a>(text: &'a str, name: &str) -> (&'a str, Option<Repair>) {
    let rest = text.strip_suffix('>').and_then(|rest| {
        let (rest, end) = rest.split_at_checked(rest.len().checked_sub(name.len())?)?;
        end.eq_ignore_ascii_case(name).then(|| rest.strip_suffix('/')).flatten()
    });
    match rest {
        Some(rest) => (rest, Some(Repair::MissingClose)),
        None => (text, None),
    }
}
