//! Which route a request takes. The most specific wins, whatever the order in the file.
//!
//! A tree over path segments, one for each host that routes name and one for all others; a look-up costs a hash for
//! each segment, however many routes there are. At every segment a literal goes before `*`, and `*` before `**`.
//!
//! What surprises, because it fails closed: host and path alone choose where a request belongs. If the route found
//! there does not take the method, the answer is 405 and no less specific route is tried; otherwise a `POST` to a
//! path whose rule was written for `GET` would fall through to a broader and perhaps public route.

use std::{borrow::Cow, collections::HashMap};

use http::{HeaderValue, Method};
use portcullis_config::routes::{PathPattern, Route, Segment};

use crate::{hygiene, rejection::Rejection};

/// The place of a route in the list that the table was built from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RouteId(usize);

impl RouteId {
    pub fn index(self) -> usize {
        self.0
    }
}

#[derive(Default)]
pub struct RouteTable {
    hosts: HashMap<Box<str>, Node>,
    any_host: Node,
}

#[derive(Default)]
struct Node {
    literals: HashMap<Box<str>, Node>,
    any: Option<Box<Node>>,
    /// The path ends here.
    exact: Option<Leaf>,
    /// `**`
    subtree: Option<Leaf>,
}

/// The routes of one host and path, told apart by method.
struct Leaf {
    by_method: Vec<(Method, RouteId)>,
    /// The route without a list of methods.
    otherwise: Option<RouteId>,
    allow: HeaderValue,
}

impl RouteTable {
    /// The loader has refused routes that match the same; should two do nevertheless, the first stays.
    pub fn build(routes: &[Route]) -> Self {
        let mut table = Self::default();
        for (position, route) in routes.iter().enumerate() {
            let id = RouteId(position);
            if route.matches.hosts.is_empty() {
                table
                    .any_host
                    .insert(&route.matches.path, &route.matches.methods, id);
            }
            for host in &route.matches.hosts {
                let root = table.hosts.entry(host.as_str().into()).or_default();
                root.insert(&route.matches.path, &route.matches.methods, id);
            }
        }
        table
    }

    /// Host and path in canonical form, see [`hygiene::CanonicalTarget`].
    pub fn find(&self, host: &str, path: &str, method: &Method) -> Result<RouteId, Rejection> {
        let segments = path.strip_prefix('/');
        let of_host = self.hosts.get(host).and_then(|root| root.find(segments));
        let leaf = of_host
            .or_else(|| self.any_host.find(segments))
            .ok_or(Rejection::RouteNotFound)?;
        leaf.find(method)
            .ok_or_else(|| Rejection::MethodNotAllowed {
                allow: leaf.allow.clone(),
            })
    }
}

impl Node {
    fn insert(&mut self, path: &PathPattern, methods: &[Method], id: RouteId) {
        let mut node = self;
        for segment in &path.segments {
            node = match segment {
                Segment::Literal(literal) => {
                    node.literals.entry(literal.as_str().into()).or_default()
                }
                Segment::Any => node.any.get_or_insert_default(),
            };
        }
        let leaf = if path.subtree {
            &mut node.subtree
        } else {
            &mut node.exact
        };
        leaf.get_or_insert_with(Leaf::new).insert(methods, id);
    }

    /// `segments` is what is left of the path, without the slash before it; `None` at its end.
    ///
    /// A `*` that leads nowhere is stepped back from. Each node stands for one way to match, so no node is visited
    /// twice, and the depth is that of the patterns, not of the path.
    fn find(&self, segments: Option<&str>) -> Option<&Leaf> {
        let Some(segments) = segments else {
            return self.exact.as_ref().or(self.subtree.as_ref());
        };
        let (segment, rest) = match segments.split_once('/') {
            Some((segment, rest)) => (segment, Some(rest)),
            None => (segments, None),
        };
        let literal = self.literals.get(comparable(segment).as_ref());
        let any = self.any.as_ref().filter(|_| !segment.is_empty());
        literal
            .and_then(|node| node.find(rest))
            .or_else(|| any.and_then(|node| node.find(rest)))
            .or(self.subtree.as_ref())
    }
}

impl Leaf {
    fn new() -> Self {
        Self {
            by_method: Vec::new(),
            otherwise: None,
            allow: hygiene::allow(hygiene::METHODS.iter()),
        }
    }

    fn insert(&mut self, methods: &[Method], id: RouteId) {
        if methods.is_empty() {
            self.otherwise.get_or_insert(id);
        }
        for method in methods {
            if self.by_method.iter().all(|(known, _)| known != method) {
                self.by_method.push((method.clone(), id));
            }
        }
        if self.otherwise.is_none() {
            self.allow = hygiene::allow(self.by_method.iter().map(|(method, _)| method));
        }
    }

    fn find(&self, method: &Method) -> Option<RouteId> {
        let listed = self
            .by_method
            .iter()
            .find(|(known, _)| known == method)
            .map(|(_, id)| *id);
        let takes_all = !matches!(*method, Method::CONNECT | Method::TRACE);
        listed.or(self.otherwise.filter(|_| takes_all))
    }
}

/// The segment as literals are written in the file, that is, with characters like `@` in the plain.
///
/// RFC 3986 leaves open whether `%40` is the same as `@`, and so does the canonical form: it travels as it came. But
/// servers take them for the same, so a rule for `/a@b` must hold for `/a%40b` as well.
fn comparable(segment: &str) -> Cow<'_, str> {
    if !segment.contains('%') {
        return Cow::Borrowed(segment);
    }
    let mut plain = String::with_capacity(segment.len());
    let mut parts = segment.split('%');
    plain.push_str(parts.next().unwrap_or_default());
    for part in parts {
        let (digits, rest) = part.split_at_checked(2).unwrap_or((part, ""));
        match plain_character(digits) {
            Some(character) => plain.push(character),
            None => plain.extend(["%", digits]),
        }
        plain.push_str(rest);
    }
    Cow::Owned(plain)
}

fn plain_character(digits: &str) -> Option<char> {
    let character = char::from(u8::from_str_radix(digits, 16).ok()?);
    "!$&'()*+,=:@".contains(character).then_some(character)
}

#[cfg(test)]
mod tests;
