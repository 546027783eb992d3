//! Tags → which element of the schema begins or ends, whatever is missing, misspelt or left open in between.

use std::borrow::Cow;

use quick_xml::events::BytesStart;

use super::repair::Repair;
use super::schema::Node;

/// The elements under way, outermost first; never deeper than `limits.xml_depth`.
#[derive(Default)]
pub struct Tree {
    open: Vec<Element>,
    /// Namespaces that elements around the report declare: depth, prefix, name.
    declared: Vec<(usize, String, String)>,
}

pub struct Element {
    /// As the schema spells it, or for what is not in it as it stands there.
    pub name: Cow<'static, str>,
    pub node: Node,
}

impl Element {
    pub fn unknown(name: &str) -> Self {
        Self { name: name.to_owned().into(), node: Node::Unknown }
    }
}

/// Longer names of namespaces, and more of them, are no report's.
const NAMESPACES: usize = 64;
const NAMESPACE_BYTES: usize = 1024;

impl Tree {
    pub fn depth(&self) -> usize {
        self.open.len()
    }

    pub fn top(&self) -> Node {
        self.open.last().map_or(Node::Unknown, |element| element.node)
    }

    pub fn top_name(&self) -> &str {
        self.open.last().map_or("", |element| &element.name)
    }

    /// The text element that this text belongs to, also within markup that a reporter left unescaped in it.
    pub fn text_owner(&self) -> Option<&Element> {
        self.open.iter().rev().find(|element| !matches!(element.node, Node::Unknown)).filter(|e| e.node.is_text())
    }

    pub fn push(&mut self, element: Element) {
        self.open.push(element);
    }

    pub fn pop(&mut self) -> Option<Element> {
        let popped = self.open.pop();
        self.declared.retain(|(depth, ..)| *depth < self.open.len());
        popped
    }

    /// Where an element of this name belongs: what it is, and how many open elements must have ended before it.
    ///
    /// A text element holds no others, so what its parent knows ends it. A container ends only where another container
    /// begins that does not belong in it; nothing unknown ends anything.
    pub fn place(&self, name: &str) -> (Element, usize) {
        let in_text = self.top().is_text();
        let known = self.open.iter().rev().take_while(|element| !matches!(element.node, Node::Unknown)).enumerate();
        let mut fitting = known.filter_map(|(above, element)| Some((above, element.node.child(name)?)));
        let place = fitting.find(|(above, (_, node))| !node.is_text() || *above == 0 || (in_text && *above == 1));
        match place {
            Some((above, (name, node))) => (Element { name: name.into(), node }, above),
            None => (Element::unknown(name), 0),
        }
    }

    /// How many elements an end tag ends: it means the nearest open one of its name. Zero when there is none.
    pub fn ended_by(&self, name: &str) -> usize {
        self.open.iter().rev().position(|element| element.name.eq_ignore_ascii_case(name)).map_or(0, |above| above + 1)
    }

    /// The namespace that this tag's name is in.
    pub fn namespace(&self, tag: &BytesStart) -> Option<String> {
        let prefix = tag.name().prefix().map_or(String::new(), |prefix| prefix.into_inner().to_owned());
        let own = declarations(tag).find(|(declared, _)| *declared == prefix).map(|(_, name)| name);
        let outer = || self.declared.iter().rev().find(|(_, declared, _)| *declared == prefix);
        own.or_else(|| outer().map(|(.., name)| name.clone())).filter(|name| !name.is_empty())
    }

    /// Remembers what an element around the report declares.
    pub fn declare(&mut self, tag: &BytesStart) {
        let depth = self.open.len();
        let room = NAMESPACES.saturating_sub(self.declared.len());
        self.declared.extend(declarations(tag).take(room).map(|(prefix, name)| (depth, prefix, name)));
    }
}

/// Prefix (empty for the default namespace) and name of each namespace that a tag declares.
fn declarations(tag: &BytesStart) -> impl Iterator<Item = (String, String)> {
    let mut attributes = tag.attributes();
    // The check for repeated names is what makes many attributes costly.
    attributes.with_checks(false);
    attributes.flatten().filter_map(|attribute| {
        let prefix = match attribute.key.as_ref() {
            "xmlns" => "",
            key => key.strip_prefix("xmlns:")?,
        };
        let name = attribute.value.trim();
        let name = quick_xml::escape::unescape(name).map_or(name.to_owned(), |name| name.into_owned());
        (prefix.len() + name.len() <= NAMESPACE_BYTES).then(|| (prefix.to_owned(), name))
    })
}

/// The text without the remains of its own end tag, as in `<begin>1745177243/begin>` (kddi.com, 2025).
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
