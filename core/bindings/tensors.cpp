// The part of deepcompression._core that computes from torch tensors, seen through DLPack's table of functions: to ask
// Python for their addresses, dtypes and shapes would take longer than to compute a small layer.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/pair.h>
#include <structmember.h>

#include <cstddef>
#include <cstdint>
#include <span>
#include <stdexcept>
#include <string>
#include <utility>

#include "packed/dispatch/forms.hpp"

namespace dcz::python {
namespace {

namespace nb = nanobind;
using namespace nb::literals;

// DLPackExchangeAPI of DLPack 1, as a library of tensors gives it.
struct ExchangeTable {
  std::uint32_t major, minor;
  const void* previous;
  const void *allocate, *export_tensor, *import_tensor;
  // Looks at a tensor without a new reference. -1 with a Python exception for one without plain memory.
  int (*view)(void* tensor, nb::dlpack::dltensor* found);
  const void* current_stream;
};

constexpr auto kFloat32 = nb::dlpack::dtype{static_cast<std::uint8_t>(nb::dlpack::dtype_code::Float), 32, 1};
constexpr auto kUint8 = nb::dlpack::dtype{static_cast<std::uint8_t>(nb::dlpack::dtype_code::UInt), 8, 1};

// A tensor's elements in C order in the memory of the CPU.
struct Plain {
  const std::uint8_t* data;
  std::span<const std::int64_t> shape;
  std::size_t elements;

  template <typename T>
  T* as() const {
    return reinterpret_cast<T*>(const_cast<std::uint8_t*>(data));
  }
};

// How tensors are looked at. The classes and names live as long as the process, as torch does.
class Tensors {
 public:
  void use(const nb::capsule& exchange, nb::object tensor, nb::object parameter) {
    const auto* const table = static_cast<const ExchangeTable*>(exchange.data("dlpack_exchange_api"));
    if (table->major != 1 || !table->view) {
      throw std::invalid_argument("tensors are looked at by DLPack 1; found version " + std::to_string(table->major) +
                                  (table->view ? "" : " without a view"));
    }
    table_ = table;
    tensor_ = tensor.release();
    parameter_ = parameter.release();
    new_empty_ = nb::object(tensor_.attr("new_empty")).release();
    is_negated_ = nb::object(tensor_.attr("is_neg")).release();
  }

  // y, or None for what the kernels do not take as it is.
  nb::object multiply(nb::handle packed, nb::handle x, nb::handle bias, bool int8, unsigned threads) const {
    Plain bytes, vectors, added{}, result;
    if (!look(packed, kUint8, bytes) || bytes.shape.size() != 1) return nb::none();
    if (!look_at_floats(x, vectors) || vectors.shape.empty()) return nb::none();
    const std::span<const std::uint8_t> view(bytes.data, bytes.elements);
    const dcz::PackedHeader header = dcz::read_packed_header(view);
    const auto is = [](std::int64_t size, std::uint64_t wanted) { return static_cast<std::uint64_t>(size) == wanted; };
    if (!is(vectors.shape.back(), header.columns)) return nb::none();
    if (!bias.is_none() &&
        (!look_at_floats(bias, added) || added.shape.size() != 1 || !is(added.shape[0], header.rows))) {
      return nb::none();
    }
    std::size_t count = 1;
    for (const std::int64_t size : vectors.shape.first(vectors.shape.size() - 1))
      count *= static_cast<std::size_t>(size);
    nb::object y = new_empty(x, vectors.shape, header.rows);
    if (!look(y, kFloat32, result) || result.elements != count * header.rows) return nb::none();
    nb::gil_scoped_release release;
    dcz::multiply(view, vectors.as<const float>(), count, added.as<const float>(), result.as<float>(),
                  int8 ? dcz::Activations::int8 : dcz::Activations::float32, threads);
    return y;
  }

 private:
  // False for another dtype or device, for elements in another order or without memory, and for a subclass.
  bool look(nb::handle tensor, nb::dlpack::dtype dtype, Plain& found) const {
    if (!tensor.type().is(tensor_) && !tensor.type().is(parameter_)) return false;
    nb::dlpack::dltensor seen;
    if (table_->view(tensor.ptr(), &seen) != 0) {
      PyErr_Clear();
      return false;
    }
    if (seen.device.device_type != nb::device::cpu::value || seen.dtype != dtype) return false;
    found.shape = {seen.shape, static_cast<std::size_t>(seen.ndim)};
    found.elements = 1;
    for (std::size_t axis = found.shape.size(); axis-- > 0;) {
      if (found.shape[axis] != 1 && found.elements != 0 &&
          seen.strides[axis] != static_cast<std::int64_t>(found.elements)) {
        return false;
      }
      found.elements *= static_cast<std::size_t>(found.shape[axis]);
    }
    found.data = static_cast<const std::uint8_t*>(seen.data) + seen.byte_offset;
    return seen.data || found.elements == 0;
  }

  // DLPack does not tell whether elements are to be negated when they are read.
  bool look_at_floats(nb::handle tensor, Plain& found) const {
    return look(tensor, kFloat32, found) && !nb::cast<bool>(is_negated_(tensor));
  }

  // As torch makes it: (*shape[:-1], rows).
  nb::object new_empty(nb::handle x, std::span<const std::int64_t> shape, std::uint64_t rows) const {
    if (shape.size() == 2) return new_empty_(x, shape[0], rows);
    nb::list sizes;
    for (const std::int64_t size : shape.first(shape.size() - 1)) sizes.append(size);
    sizes.append(rows);
    return new_empty_(x, sizes);
  }

  const ExchangeTable* table_ = nullptr;
  nb::handle tensor_, parameter_, new_empty_, is_negated_;
};

Tensors tensors;

// The descriptor `__call__` of linear layers with a packed weight. It computes the product where nothing but the layer
// has a part in the call: no frame of Python and no part of torch's dispatcher is needed then. Everything else is the
// base class's, which is also what Python sees of the descriptor: tracers follow that.
class LayerCall {
 public:
  PyObject_HEAD
  vectorcallfunc call;

  static PyObject* type();
  void init(nb::handle base, nb::handle watchers, nb::handle hooks, nb::handle threads, nb::handle grad, nb::handle refuse) {
    call = &LayerCall::vectorcall;
    base_ = base.inc_ref();
    watchers_ = watchers.inc_ref();
    global_hooks_ = hooks.inc_ref();
    threads_ = threads.inc_ref();
    grad_ = grad.inc_ref();
    refuse_ = refuse.inc_ref();
    const auto name = [](const char* text) { return nb::handle(PyUnicode_InternFromString(text)); };
    own_hooks_[0] = name("_forward_hooks");
    own_hooks_[1] = name("_forward_pre_hooks");
    own_hooks_[2] = name("_backward_hooks");
    own_hooks_[3] = name("_backward_pre_hooks");
    forward_ = name("forward");
    compiled_ = name("_compiled_call_impl");
    modules_ = name("_modules");
    parameters_ = name("_parameters");
    buffers_ = name("_buffers");
    weight_ = name("weight");
    bias_ = name("bias");
    packed_ = name("packed");
    int8_ = name("int8");
    on_core_ = name("on_core");
    layer_ = name("layer");
    requires_grad_ = name("requires_grad");
    call_ = name("__call__");
  }

  static PyObject* vectorcall(PyObject* self, PyObject* const* args, std::size_t nargsf, PyObject* names) {
    auto* const found = reinterpret_cast<LayerCall*>(self);
    try {
      if (PyVectorcall_NARGS(nargsf) == 2 && !names) {
        nb::object y = found->at_once(args[0], args[1]);
        if (y.is_valid() && !y.is_none()) return y.release().ptr();
      }
    } catch (nb::python_error& e) {
      e.restore();
      return nullptr;
    } catch (const std::exception&) {
    }
    nb::object otherwise = nb::steal(PyObject_GetAttr(found->base_.ptr(), found->call_.ptr()));
    return otherwise.is_valid() ? PyObject_Vectorcall(otherwise.ptr(), args, nargsf, names) : nullptr;
  }

  static PyObject* get(PyObject* self, PyObject* object, PyObject* type) {
    auto* const found = reinterpret_cast<LayerCall*>(self);
    nb::object otherwise = nb::steal(PyObject_GetAttr(found->base_.ptr(), found->call_.ptr()));
    if (!otherwise.is_valid() || !object) return otherwise.release().ptr();
    return PyObject_CallMethod(otherwise.ptr(), "__get__", "OO", object, type ? type : Py_None);
  }

 private:
  static nb::handle item(nb::handle dict, nb::handle name) {
    return dict.is_valid() && PyDict_Check(dict.ptr()) ? PyDict_GetItemWithError(dict.ptr(), name.ptr()) : nullptr;
  }

  bool requires_grad(nb::handle tensor) const { return tensor.attr(requires_grad_).ptr() == Py_True; }

  nb::object at_once(nb::handle layer, nb::handle x) const {
    for (nb::handle hooks : nb::borrow<nb::tuple>(global_hooks_)) {
      if (PyDict_Size(hooks.ptr()) != 0) return {};
    }
    nb::object state = nb::steal(PyObject_GenericGetDict(layer.ptr(), nullptr));
    for (const nb::handle name : own_hooks_) {
      const nb::handle hooks = item(state, name);
      if (!hooks.is_valid() || PyDict_Size(hooks.ptr()) != 0) return {};
    }
    if (item(state, forward_).is_valid() || item(state, compiled_).is_valid()) return {};
    const nb::handle weight = item(item(state, modules_), weight_);
    if (!weight.is_valid()) return {};
    nb::object of_weight = nb::steal(PyObject_GenericGetDict(weight.ptr(), nullptr));
    if (item(of_weight, on_core_).ptr() != Py_True) return {};
    nb::object packed = nb::borrow(item(item(of_weight, buffers_), packed_));
    nb::object bias = nb::borrow(item(item(state, parameters_), bias_));
    if (!packed.is_valid() || !bias.is_valid()) return {};
    for (nb::handle watcher : nb::borrow<nb::tuple>(watchers_)) {
      nb::object watches = nb::steal(PyObject_CallNoArgs(watcher.ptr()));
      if (!watches.is_valid()) nb::raise_python_error();
      if (!watches.is_none() && PyObject_IsTrue(watches.ptr()) != 0) return {};
    }
    nb::object threads = nb::steal(PyObject_CallNoArgs(threads_.ptr()));
    nb::object y =
        tensors.multiply(packed, x, bias, item(of_weight, int8_).ptr() == Py_True, nb::cast<unsigned>(threads));
    if (!y.is_none() && grad_().ptr() == Py_True && (requires_grad(x) || (!bias.is_none() && requires_grad(bias)))) {
      return refuse_(y, item(of_weight, layer_), x, bias);
    }
    return y;
  }

  nb::handle base_, watchers_, global_hooks_, threads_, grad_, refuse_;
  nb::handle own_hooks_[4];
  nb::handle forward_, compiled_, modules_, parameters_, buffers_, weight_, bias_, packed_, int8_, on_core_, layer_,
      requires_grad_, call_;
};

PyObject* LayerCall::type() {
  static PyMemberDef members[] = {
      {"__vectorcalloffset__", T_PYSSIZET, static_cast<Py_ssize_t>(offsetof(LayerCall, call)), READONLY, nullptr},
      {nullptr, 0, 0, 0, nullptr}};
  static PyType_Slot slots[] = {{Py_tp_members, members},
                                {Py_tp_call, reinterpret_cast<void*>(&PyVectorcall_Call)},
                                {Py_tp_descr_get, reinterpret_cast<void*>(&LayerCall::get)},
                                {0, nullptr}};
  static PyType_Spec spec = {"deepcompression._core.LayerCall", sizeof(LayerCall), 0,
                             Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_VECTORCALL | Py_TPFLAGS_METHOD_DESCRIPTOR, slots};
  return PyType_FromSpec(&spec);
}

}  // namespace

void bind_tensors(nb::module_& m) {
  m.def(
      "packed_shape",
      [](std::uintptr_t packed, std::size_t packed_bytes) {
        const dcz::PackedHeader header =
            dcz::read_packed_header({reinterpret_cast<const std::uint8_t*>(packed), packed_bytes});
        return std::pair(header.rows, header.columns);
      },
      "packed"_a, "packed_bytes"_a, "The rows and columns of packed weights at an address.");
  m.def(
      "use_tensors",
      [](const nb::capsule& exchange, nb::object tensor, nb::object parameter) {
        tensors.use(exchange, std::move(tensor), std::move(parameter));
      },
      "exchange"_a, "tensor"_a, "parameter"_a,
      "Before `multiply_tensors`: the table of functions `__dlpack_c_exchange_api__`, and the classes of tensors and "
      "of "
      "parameters. Raises ValueError for another version of DLPack.");
  m.def(
      "layer_call",
      [](nb::handle base, nb::tuple watchers, nb::tuple hooks, nb::handle threads, nb::handle grad, nb::handle refuse) {
        static PyObject* type = LayerCall::type();
        nb::object made = nb::steal(PyType_GenericAlloc(reinterpret_cast<PyTypeObject*>(type), 0));
        reinterpret_cast<LayerCall*>(made.ptr())->init(base, watchers, hooks, threads, grad, refuse);
        return made;
      });
  m.def(
      "multiply_tensors",
      [](nb::handle packed, nb::handle x, nb::handle bias, bool int8, unsigned threads) {
        return tensors.multiply(packed, x, bias, int8, threads);
      },
      "packed"_a.none(), "x"_a.none(), "bias"_a.none(), "int8"_a, "threads"_a,
      "x W^T + bias: packed weights, x (..., columns), bias (rows,) or None. None, and nothing is done, unless all are "
      "tensors of the two classes, in C order in the CPU's memory, of uint8 and of float32, and of shapes that fit.");
}

}  // namespace dcz::python
