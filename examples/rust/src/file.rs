// A .dcz file and its layers, safe to use: errors are texts, handles are freed.
use crate::interface::*;
use std::ffi::{CStr, CString};
use std::mem::{size_of, MaybeUninit};
use std::os::raw::c_char;
use std::ptr::null_mut;

fn check(status: i32) -> Result<(), String> {
    if status == 0 {
        return Ok(());
    }
    Err(text(unsafe { dcz_message() }))
}

fn text(bytes: *const c_char) -> String {
    unsafe { CStr::from_ptr(bytes) }.to_string_lossy().into_owned()
}

fn c_text(given: &str) -> Result<CString, String> {
    CString::new(given).map_err(|_| format!("{:?} has a zero byte", given))
}

pub struct Tensor {
    pub name: String,
    pub dtype: String,
    pub coder: String,
    pub shape: Vec<u64>,
    pub bytes: u64,
    pub stored_bytes: u64,
}

pub struct File(*mut Reader);

impl File {
    pub fn open(path: &str) -> Result<File, String> {
        let mut reader = null_mut();
        check(unsafe { dcz_reader_open(c_text(path)?.as_ptr(), 0, &mut reader) })?;
        Ok(File(reader))
    }

    pub fn tensors(&self) -> Result<Vec<Tensor>, String> {
        (0..unsafe { dcz_reader_count(self.0) }).map(|number| self.tensor(number)).collect()
    }

    fn tensor(&self, number: usize) -> Result<Tensor, String> {
        let mut found = MaybeUninit::<Entry>::uninit();
        check(unsafe { dcz_reader_entry(self.0, number, found.as_mut_ptr(), size_of::<Entry>()) })?;
        let entry = unsafe { found.assume_init() };
        let shape = match entry.dimensions {
            0 => Vec::new(),
            count => unsafe { std::slice::from_raw_parts(entry.shape, count) }.to_vec(),
        };
        Ok(Tensor {
            name: text(entry.name.bytes),
            dtype: text(entry.dtype),
            coder: text(entry.coder),
            shape,
            bytes: entry.bytes,
            stored_bytes: entry.stored_bytes,
        })
    }

    pub fn layer(&self, name: &str) -> Result<Layer, String> {
        let (mut number, mut packed) = (0, null_mut());
        check(unsafe { dcz_reader_find(self.0, c_text(name)?.as_ptr(), &mut number) })?;
        check(unsafe { dcz_packed_make(self.0, number, FLOAT32, 1, 1, &mut packed) })?;
        let mut layer = Layer { packed, rows: 0, columns: 0 };
        let mut found = MaybeUninit::<Facts>::uninit();
        check(unsafe { dcz_packed_describe(packed, found.as_mut_ptr(), size_of::<Facts>()) })?;
        let facts = unsafe { found.assume_init() };
        layer.rows = facts.rows as usize;
        layer.columns = facts.columns as usize;
        Ok(layer)
    }
}

impl Drop for File {
    fn drop(&mut self) {
        unsafe { dcz_reader_close(self.0) }
    }
}

pub struct Layer {
    packed: *mut Packed,
    pub rows: usize,
    pub columns: usize,
}

impl Layer {
    pub fn multiply(&self, x: &[f32]) -> Result<Vec<f32>, String> {
        let mut y = vec![0.0; self.rows];
        let product = Product {
            vectors: 1,
            x: x.as_ptr(),
            x_length: x.len(),
            bias: std::ptr::null(),
            bias_length: 0,
            y: y.as_mut_ptr(),
            y_length: y.len(),
            activations: FLOAT32,
            threads: 1,
        };
        check(unsafe { dcz_packed_multiply(self.packed, &product, size_of::<Product>()) })?;
        Ok(y)
    }
}

impl Drop for Layer {
    fn drop(&mut self) {
        unsafe { dcz_packed_free(self.packed) }
    }
}
