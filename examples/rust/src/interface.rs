// The functions of deepcompression.h that this example calls, as they are declared there.
use std::os::raw::{c_char, c_void};

#[repr(C)]
pub struct Text {
    pub bytes: *const c_char,
    pub length: usize,
}

#[repr(C)]
pub struct Entry {
    pub name: Text,
    pub dtype: *const c_char,
    pub coder: *const c_char,
    pub shape: *const u64,
    pub dimensions: usize,
    pub bytes: u64,
    pub stored_bytes: u64,
    pub tied_to: usize,
}

#[repr(C)]
pub struct Facts {
    pub rows: u64,
    pub columns: u64,
    pub survivors: u64,
    pub centroids: u64,
    pub form: *const c_char,
    pub bytes: *const c_void,
    pub size: usize,
}

#[repr(C)]
pub struct Product {
    pub vectors: usize,
    pub x: *const f32,
    pub x_length: usize,
    pub bias: *const f32,
    pub bias_length: usize,
    pub y: *mut f32,
    pub y_length: usize,
    pub activations: i32,
    pub threads: u32,
}

pub enum Reader {}
pub enum Packed {}

pub const FLOAT32: i32 = 0;

extern "C" {
    pub fn dcz_message() -> *const c_char;
    pub fn dcz_reader_open(path: *const c_char, limit: u64, reader: *mut *mut Reader) -> i32;
    pub fn dcz_reader_close(reader: *mut Reader);
    pub fn dcz_reader_count(reader: *const Reader) -> usize;
    pub fn dcz_reader_entry(reader: *const Reader, number: usize, entry: *mut Entry, size: usize) -> i32;
    pub fn dcz_reader_find(reader: *const Reader, name: *const c_char, number: *mut usize) -> i32;
    pub fn dcz_packed_make(
        reader: *const Reader,
        number: usize,
        activations: i32,
        vectors: usize,
        threads: u32,
        packed: *mut *mut Packed,
    ) -> i32;
    pub fn dcz_packed_free(packed: *mut Packed);
    pub fn dcz_packed_describe(packed: *const Packed, facts: *mut Facts, size: usize) -> i32;
    pub fn dcz_packed_multiply(packed: *const Packed, product: *const Product, size: usize) -> i32;
}
