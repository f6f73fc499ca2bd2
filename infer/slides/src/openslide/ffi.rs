//! Safe wrapper of the functions of OpenSlide's C interface that are used.
//!
//! Reference: `openslide.h` of OpenSlide 4.0.

use std::collections::BTreeMap;
use std::ffi::{CStr, CString, c_char, c_void};
use std::path::Path;
use std::ptr::NonNull;
use std::sync::Arc;

use libloading::Library;
use support::{Context, Result, bail};

use crate::Level;

/// Pointer to an open slide, `openslide_t*`.
type Osr = *mut c_void;

/// Functions of a loaded library.
pub struct Api {
    get_version: unsafe extern "C" fn() -> *const c_char,
    open: unsafe extern "C" fn(*const c_char) -> Osr,
    close: unsafe extern "C" fn(Osr),
    get_error: unsafe extern "C" fn(Osr) -> *const c_char,
    get_level_count: unsafe extern "C" fn(Osr) -> i32,
    get_level_dimensions: unsafe extern "C" fn(Osr, i32, *mut i64, *mut i64),
    get_level_downsample: unsafe extern "C" fn(Osr, i32) -> f64,
    read_region: unsafe extern "C" fn(Osr, *mut u32, i64, i64, i32, i64, i64),
    get_property_names: unsafe extern "C" fn(Osr) -> *const *const c_char,
    get_property_value: unsafe extern "C" fn(Osr, *const c_char) -> *const c_char,
}

macro_rules! symbol {
    ($library:expr, $name:literal) => {
        // SAFETY: the field that takes the symbol has the signature that openslide.h declares for this name.
        *unsafe { $library.get(concat!("openslide_", $name)) }?
    };
}

impl Api {
    /// Loads a library and resolves its functions.
    pub fn load(path: &Path) -> Result<Arc<Self>> {
        // SAFETY: the library is OpenSlide, named by the user or checked by its hash; its initialisers only register image loaders.
        let library = unsafe { Library::new(path) }?;
        let api = Self {
            get_version: symbol!(library, "get_version"),
            open: symbol!(library, "open"),
            close: symbol!(library, "close"),
            get_error: symbol!(library, "get_error"),
            get_level_count: symbol!(library, "get_level_count"),
            get_level_dimensions: symbol!(library, "get_level_dimensions"),
            get_level_downsample: symbol!(library, "get_level_downsample"),
            read_region: symbol!(library, "read_region"),
            get_property_names: symbol!(library, "get_property_names"),
            get_property_value: symbol!(library, "get_property_value"),
        };
        // The library is never unloaded, because its GLib registers destructors in every thread that has used it.
        std::mem::forget(library);
        Ok(Arc::new(api))
    }

    /// Returns the library's version, such as `4.0.1`.
    pub fn version(&self) -> String {
        // SAFETY: takes nothing and returns a static string or null.
        text(unsafe { (self.get_version)() }).unwrap_or_default()
    }
}

/// Open slide.
pub struct Handle {
    api: Arc<Api>,
    osr: NonNull<c_void>,
}

// SAFETY: openslide.h: "all functions except openslide_close() are thread-safe"; closing takes the only owner (`Drop`).
unsafe impl Send for Handle {}
// SAFETY: as above.
unsafe impl Sync for Handle {}

impl Drop for Handle {
    fn drop(&mut self) {
        // SAFETY: the handle came from openslide_open and is closed once, here.
        unsafe { (self.api.close)(self.osr.as_ptr()) }
    }
}

impl Handle {
    /// Opens a slide.
    ///
    /// # Errors
    /// A name that is not UTF-8, or a format that OpenSlide does not know.
    pub fn open(api: &Arc<Api>, path: &Path) -> Result<Self> {
        let Some(name) = path.to_str() else { bail!("OpenSlide needs a file name in UTF-8") };
        let name = CString::new(name).doing(|| "the file name")?;
        // SAFETY: the name is NUL-terminated and outlives the call; null is handled below.
        let Some(osr) = NonNull::new(unsafe { (api.open)(name.as_ptr()) }) else {
            bail!("OpenSlide does not know the format of this file"; hint: "PNG, JPEG, TIFF, SVS, NDPI, MRXS, SCN, BIF, VMS and DICOM slides are read; is the file complete?");
        };
        let handle = Self { api: api.clone(), osr };
        handle.check()?;
        Ok(handle)
    }

    /// Returns the levels, the finest first.
    pub fn levels(&self) -> Result<Vec<Level>> {
        // SAFETY: the handle is open.
        let count = unsafe { (self.api.get_level_count)(self.osr.as_ptr()) };
        let levels = (0..count).map(|level| self.level(level)).collect::<Result<_>>()?;
        self.check()?;
        Ok(levels)
    }

    /// Returns the size and the downsample of one level.
    fn level(&self, level: i32) -> Result<Level> {
        let (mut width, mut height) = (0, 0);
        // SAFETY: the handle is open and both pointers are valid for one i64 each.
        unsafe { (self.api.get_level_dimensions)(self.osr.as_ptr(), level, &raw mut width, &raw mut height) };
        // SAFETY: the handle is open.
        let downsample = unsafe { (self.api.get_level_downsample)(self.osr.as_ptr(), level) };
        if width < 1 || height < 1 || downsample.is_nan() || downsample <= 0.0 {
            bail!("OpenSlide reports a level {level} of {width} x {height} px, downsample {downsample}");
        }
        Ok(Level { width: width as u64, height: height as u64, downsample })
    }

    /// Reads a region as premultiplied ARGB; `x` and `y` are in level-0 pixels, `width` and `height` in pixels of the level.
    pub fn read_region(&self, level: usize, x: i64, y: i64, width: u64, height: u64) -> Result<Vec<u32>> {
        let mut argb = vec![0u32; (width * height) as usize];
        // SAFETY: the handle is open and the buffer holds width * height values.
        unsafe { (self.api.read_region)(self.osr.as_ptr(), argb.as_mut_ptr(), x, y, level as i32, width as i64, height as i64) };
        self.check()?;
        Ok(argb)
    }

    /// Returns all vendor tags.
    pub fn properties(&self) -> Result<BTreeMap<String, String>> {
        let mut properties = BTreeMap::new();
        // SAFETY: the handle is open; the list ends in null and lives as long as the handle.
        let mut names = unsafe { (self.api.get_property_names)(self.osr.as_ptr()) };
        while !names.is_null() {
            // SAFETY: `names` has not passed the null that ends the list.
            let name = unsafe { *names };
            let Some(key) = text(name) else { break };
            // SAFETY: the handle is open and the name came from it.
            let value = text(unsafe { (self.api.get_property_value)(self.osr.as_ptr(), name) });
            properties.insert(key, value.unwrap_or_default());
            // SAFETY: `name` was not null, so there is a next entry.
            names = unsafe { names.add(1) };
        }
        self.check()?;
        Ok(properties)
    }

    /// Returns the error of the handle, which persists after the first failure.
    fn check(&self) -> Result<()> {
        // SAFETY: the handle is open; the string lives as long as the handle.
        match text(unsafe { (self.api.get_error)(self.osr.as_ptr()) }) {
            Some(message) => bail!("OpenSlide: {message}"),
            None => Ok(()),
        }
    }
}

/// Copies a C string; `None` for null.
fn text(pointer: *const c_char) -> Option<String> {
    // SAFETY: OpenSlide returns null or a NUL-terminated string that stays valid during the copy.
    (!pointer.is_null()).then(|| unsafe { CStr::from_ptr(pointer) }.to_string_lossy().into_owned())
}
