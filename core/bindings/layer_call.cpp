// The call of a linear layer with packed weights, without a frame of Python: such frames take as long as a small layer.
#include <nanobind/nanobind.h>
#include <structmember.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <exception>

#include "bindings/tensors.hpp"

#if defined(__linux__)
#include <dlfcn.h>
#endif

namespace dcz::python {
namespace {

using namespace nb::literals;

using Objects = nb::typed<nb::tuple, nb::object, nb::ellipsis>;

// A name as Python's dictionaries find it at once. It lives as long as the process.
nb::handle interned(const char* name) { return PyUnicode_InternFromString(name); }

// A borrowed entry, invalid where there is none.
nb::handle item(nb::handle dict, nb::handle name) {
  if (!dict.is_valid() || !PyDict_Check(dict.ptr())) return {};
  return PyDict_GetItemWithError(dict.ptr(), name.ptr());
}

bool is_empty(nb::handle dict) { return dict.is_valid() && PyDict_Check(dict.ptr()) && PyDict_Size(dict.ptr()) == 0; }

// torch's word of this thread for the parts that take part in its operations: autocast, tracers, modes, transforms.
// Whatever else asks for them, asks once for each value of the word.
using Word = std::array<std::uint64_t, 2>;

const Word* word() {
#if defined(__linux__)
  thread_local const Word* found = nullptr;
  if (!found) {
    // not opened anew: torch has loaded it
    void* const library = dlopen("libc10.so", RTLD_NOW | RTLD_NOLOAD);
    if (library) {
      found = static_cast<const Word*>(dlsym(library, "_ZN3c104impl26raw_local_dispatch_key_setE"));
      dlclose(library);
    }
  }
  return found;
#else
  return nullptr;
#endif
}

// Whether none of torch's functions says that something watches.
bool nothing_watches(nb::handle watchers) {
  thread_local Word quiet{};
  thread_local bool known = false;
  const Word* const now = word();
  if (known && now && *now == quiet) return true;
  for (const nb::handle watcher : nb::borrow<nb::tuple>(watchers)) {
    const nb::object watches = watcher();
    if (!watches.is_none() && PyObject_IsTrue(watches.ptr()) != 0) return false;
  }
  if (now) {
    quiet = *now;
    known = true;
  }
  return true;
}

// The names of attributes of layers and of packed weights.
struct Names {
  nb::handle modules = interned("_modules"), parameters = interned("_parameters"), buffers = interned("_buffers");
  nb::handle weight = interned("weight"), bias = interned("bias"), packed = interned("packed"), int8 = interned("int8"),
             on_core = interned("on_core"), layer = interned("layer"), requires_grad = interned("requires_grad");
  nb::handle call = interned("__call__"), level = interned("_current_level");
  std::array<nb::handle, 4> hooks = {interned("_forward_hooks"), interned("_forward_pre_hooks"),
                                     interned("_backward_hooks"), interned("_backward_pre_hooks")};
  std::array<nb::handle, 2> replaced = {interned("forward"), interned("_compiled_call_impl")};
};

// The descriptor `__call__` of a class of layers. It computes the product where only the layer itself has a part in the
// call. All else is the base class's `__call__`, which is also what Python sees here, tracers and compilers among it.
struct LayerCall {
  PyObject_HEAD vectorcallfunc function;
  // of the process's whole life: the class of layers holds this
  PyObject *base, *watchers, *hooks, *threads, *grad, *refuse, *forward_ad;
  const Names* names;
};

bool wants_gradients(const LayerCall& self, nb::handle tensor) {
  return !tensor.is_none() && nb::object(tensor.attr(self.names->requires_grad)).ptr() == Py_True;
}

// y, or nothing where the base class is to be called.
nb::object at_once(const LayerCall& self, nb::handle layer, nb::handle x) {
  const Names& names = *self.names;
  for (const nb::handle hooks : nb::borrow<nb::tuple>(self.hooks)) {
    if (!is_empty(hooks)) return {};
  }
  const nb::object state = nb::steal(PyObject_GenericGetDict(layer.ptr(), nullptr));
  for (const nb::handle name : names.hooks) {
    if (!is_empty(item(state, name))) return {};
  }
  for (const nb::handle name : names.replaced) {
    if (item(state, name).is_valid()) return {};
  }
  const nb::handle weight = item(item(state, names.modules), names.weight);
  if (!weight.is_valid()) return {};
  const nb::object facts = nb::steal(PyObject_GenericGetDict(weight.ptr(), nullptr));
  if (item(facts, names.on_core).ptr() != Py_True) return {};
  // held: another thread may replace them during the product
  const nb::object packed = nb::borrow(item(item(facts, names.buffers), names.packed));
  const nb::object bias = nb::borrow(item(item(state, names.parameters), names.bias));
  if (!packed.is_valid() || !bias.is_valid() || !nothing_watches(self.watchers)) return {};
  const nb::handle level = item(self.forward_ad, names.level);
  if (!level.is_valid() || nb::cast<int>(level) >= 0) return {};
  const bool int8 = item(facts, names.int8).ptr() == Py_True;
  nb::object y = tensors.multiply(packed, x, bias, int8, nb::cast<unsigned>(nb::handle(self.threads)()));
  if (y.is_none()) return {};
  const bool wants = (wants_gradients(self, x) || wants_gradients(self, bias)) && nb::handle(self.grad)().is(Py_True);
  return wants ? nb::handle(self.refuse)(y, item(facts, names.layer), x, bias) : y;
}

PyObject* call(PyObject* descriptor, PyObject* const* args, std::size_t count, PyObject* keywords) {
  const LayerCall& self = *reinterpret_cast<LayerCall*>(descriptor);
  try {
    if (PyVectorcall_NARGS(count) == 2 && !keywords) {
      nb::object y = at_once(self, args[0], args[1]);
      if (y.is_valid()) return y.release().ptr();
    }
  } catch (nb::python_error& error) {
    error.restore();
    return nullptr;
  } catch (const std::exception&) {
    // the same comes to light again below, where it is told as Python's
  }
  if (PyErr_Occurred()) return nullptr;
  const nb::object otherwise = nb::steal(PyObject_GetAttr(self.base, self.names->call.ptr()));
  return otherwise.is_valid() ? PyObject_Vectorcall(otherwise.ptr(), args, count, keywords) : nullptr;
}

// What Python sees: the base class's `__call__`, bound to the layer if one is given.
PyObject* get(PyObject* descriptor, PyObject* layer, PyObject* type) {
  const LayerCall& self = *reinterpret_cast<LayerCall*>(descriptor);
  nb::object otherwise = nb::steal(PyObject_GetAttr(self.base, self.names->call.ptr()));
  if (!otherwise.is_valid() || !layer) return otherwise.release().ptr();
  return PyObject_CallMethod(otherwise.ptr(), "__get__", "OO", layer, type ? type : Py_None);
}

PyObject* make_type() {
  static PyMemberDef members[] = {
      {"__vectorcalloffset__", T_PYSSIZET, static_cast<Py_ssize_t>(offsetof(LayerCall, function)), READONLY, nullptr},
      {nullptr, 0, 0, 0, nullptr}};
  static PyType_Slot slots[] = {{Py_tp_members, members},
                                {Py_tp_call, reinterpret_cast<void*>(&PyVectorcall_Call)},
                                {Py_tp_descr_get, reinterpret_cast<void*>(&get)},
                                {0, nullptr}};
  static PyType_Spec spec = {"deepcompression._core.LayerCall", sizeof(LayerCall), 0,
                             Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_VECTORCALL | Py_TPFLAGS_METHOD_DESCRIPTOR, slots};
  PyObject* const made = PyType_FromSpec(&spec);
  if (!made) nb::raise_python_error();
  return made;
}

}  // namespace

void bind_layer_call(nb::module_& m) {
  m.def(
      "layer_call",
      [](nb::object base, Objects watchers, Objects hooks, nb::object threads, nb::object grad, nb::object refuse,
         nb::typed<nb::dict, nb::str, nb::object> forward_ad) {
        static PyObject* const type = make_type();
        static const Names names;
        nb::object made = nb::steal(PyType_GenericAlloc(reinterpret_cast<PyTypeObject*>(type), 0));
        if (!made.is_valid()) nb::raise_python_error();
        auto& self = *reinterpret_cast<LayerCall*>(made.ptr());
        self.function = &call;
        self.base = base.release().ptr();
        self.watchers = watchers.release().ptr();
        self.hooks = hooks.release().ptr();
        self.threads = threads.release().ptr();
        self.grad = grad.release().ptr();
        self.refuse = refuse.release().ptr();
        self.forward_ad = forward_ad.release().ptr();
        self.names = &names;
        return made;
      },
      "base"_a, "watchers"_a, "hooks"_a, "threads"_a, "grad"_a, "refuse"_a, "forward_ad"_a,
      "The descriptor `__call__` of linear layers with packed weights, after `use_tensors`.\n\n"
      "base      the class whose `__call__` is called where the product alone does not do\n"
      "watchers  functions of which each says whether something of torch's follows the computation\n"
      "hooks     dictionaries of hooks for all modules\n"
      "threads   () -> the number of threads\n"
      "grad      () -> whether gradients are recorded\n"
      "refuse    (y, layer, x, bias) -> y, whose backward is refused\n"
      "forward_ad  names of torch.autograd.forward_ad, whose levels follow derivatives forward");
}

}  // namespace dcz::python
