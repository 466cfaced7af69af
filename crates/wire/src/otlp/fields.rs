//! Which field numbers the schema has, as one bit each: a field named here that comes in another
//! wire type is damage, any other is skipped.

const fn fields(numbers: &[u32]) -> u32 {
    let mut bits = 0;
    let mut rest = numbers;
    while let [first, others @ ..] = rest {
        bits |= 1 << *first;
        rest = others;
    }
    bits
}

pub(super) const REQUEST: u32 = fields(&[1]);
pub(super) const RESOURCE_SPANS: u32 = fields(&[1, 2, 3]);
pub(super) const SCOPE_SPANS: u32 = fields(&[1, 2, 3]);
pub(super) const RESOURCE: u32 = fields(&[1, 2, 3]);
pub(super) const ENTITY_REF: u32 = fields(&[1, 2, 3, 4]);
pub(super) const SCOPE: u32 = fields(&[1, 2, 3, 4]);
pub(super) const SPAN: u32 = fields(&[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16]);
pub(super) const EVENT: u32 = fields(&[1, 2, 3, 4]);
pub(super) const LINK: u32 = fields(&[1, 2, 3, 4, 5, 6]);
pub(super) const STATUS: u32 = fields(&[2, 3]);
/// `key_strindex` (3) is for profiles: it is skipped here.
pub(super) const KEY_VALUE: u32 = fields(&[1, 2]);
/// `string_value_strindex` (8) is for profiles: it is skipped here.
pub(super) const ANY_VALUE: u32 = fields(&[1, 2, 3, 4, 5, 6, 7]);
pub(super) const ARRAY_VALUE: u32 = fields(&[1]);
pub(super) const KEY_VALUE_LIST: u32 = fields(&[1]);
