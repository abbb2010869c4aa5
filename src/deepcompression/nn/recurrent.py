"""LSTM, GRU and RNN with packed weights. One product takes the inputs of all time steps, the rest goes by steps."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import PackedSequence

from deepcompression.nn.stand_in import StandIn

State = tuple[Tensor, ...]


class _PackedRecurrent(nn.RNNBase):
    """The common part of the three kinds. Parameters keep their names; each is packed or dense."""

    def flatten_parameters(self) -> None:
        """Does nothing: there are no flat weights. Models call it."""

    def forward(self, input: Any, hx: Any = None) -> Any:
        """The results of torch's module.

        input  (time, batch, features), or batch first, or without a batch, or a PackedSequence
        hx     (layers * directions, batch, hidden); two of them for an LSTM

        Raises TypeError and ValueError, naming the layer, for inputs and states that do not fit.
        """
        if isinstance(input, PackedSequence):
            data, batch_sizes, order, back = input
            self._check(data, 2)
            states = self._states(hx, data, int(batch_sizes[0]), order)
            output, states = self._layers(data, batch_sizes.tolist(), states)
            return PackedSequence(output, batch_sizes, order, back), self._given(states, back)
        self._check(input, 2, 3)
        batched = input.dim() == 3
        x = input if batched else input.unsqueeze(1)
        if batched and self.batch_first:
            x = x.transpose(0, 1)
        length, batch, features = x.shape
        if not length:
            raise ValueError(f"{self._layer()}: a sequence has one time step or more; found shape {list(input.shape)}")
        if hx is not None and not batched:
            hx = tuple(state.unsqueeze(1) for state in hx) if isinstance(hx, tuple | list) else hx.unsqueeze(1)
        states = self._states(hx, input, batch, None)
        output, states = self._layers(x.reshape(length * batch, features), [batch] * length, states)
        output = output.view(length, batch, output.shape[-1])
        if not batched:
            return output.squeeze(1), self._given(tuple(state.squeeze(1) for state in states), None)
        return output.transpose(0, 1) if self.batch_first else output, self._given(states, None)

    def _layer(self) -> str:
        """The layer's name, which its packed weights hold."""
        for name, part in self.named_children():
            if isinstance(part, StandIn):
                return part.layer.removesuffix(name).removesuffix(".") or type(self).__name__
        return type(self).__name__

    def _check(self, x: Any, *dimensions: int) -> None:
        if not isinstance(x, Tensor):
            raise TypeError(f"{self._layer()}: the input is a tensor or a PackedSequence; found {type(x).__name__}")
        if x.dim() not in dimensions or x.shape[-1] != self.input_size:
            raise ValueError(
                f"{self._layer()}: the input has {' or '.join(map(str, dimensions))} dimensions, the last of "
                f"{self.input_size} features; found shape {list(x.shape)}"
            )

    def _state_sizes(self) -> tuple[int, ...]:
        return (self.hidden_size,)

    def _states(self, hx: Any, x: Tensor, batch: int, order: Tensor | None) -> State:
        """The initial states, (layers * directions, batch, size) each."""
        count = self.num_layers * (2 if self.bidirectional else 1)
        shapes = [(count, batch, size) for size in self._state_sizes()]
        if hx is None:
            return tuple(x.new_zeros(shape) for shape in shapes)
        given = tuple(hx) if isinstance(hx, tuple | list) else (hx,)
        if [tuple(state.shape) for state in given] != shapes:
            raise ValueError(
                f"{self._layer()}: initial states have shapes {[list(shape) for shape in shapes]}; "
                f"found {[list(state.shape) for state in given]}"
            )
        return given if order is None else tuple(state.index_select(1, order) for state in given)

    def _given(self, states: State, back: Tensor | None) -> Any:
        if back is not None:
            states = tuple(state.index_select(1, back) for state in states)
        return states if len(states) > 1 else states[0]

    def _layers(self, x: Tensor, batch_sizes: list[int], initial: State) -> tuple[Tensor, State]:
        """x (steps of all sequences by time, features) -> the last layer's output, likewise, and the final states."""
        final: list[State] = []
        directions = ("", "_reverse") if self.bidirectional else ("",)
        for layer in range(self.num_layers):
            outputs = []
            for direction in directions:
                states = tuple(state[len(final)] for state in initial)
                output, states = self._run(f"_l{layer}{direction}", x, batch_sizes, states, bool(direction))
                outputs.append(output)
                final.append(states)
            x = outputs[0] if len(outputs) == 1 else torch.cat(outputs, -1)
            if self.dropout and layer + 1 < self.num_layers:
                x = F.dropout(x, self.dropout, self.training)
        return x, tuple(torch.stack(parts) for parts in zip(*final, strict=True))

    def _run(
        self, suffix: str, x: Tensor, batch_sizes: list[int], states: State, reverse: bool
    ) -> tuple[Tensor, State]:
        """One direction of one layer."""
        products = torch.split(self._product("ih", suffix, x), batch_sizes)
        outputs: list[Tensor] = [x] * len(batch_sizes)
        steps = range(len(batch_sizes))
        for step in reversed(steps) if reverse else steps:
            # sequences are sorted by length: the first ones last until this step
            count = batch_sizes[step]
            running = tuple(state[:count] for state in states)
            new = self._cell(suffix, products[step], running)
            outputs[step] = new[0]
            if count == len(states[0]):
                states = new
            else:
                states = tuple(torch.cat((now, state[count:])) for now, state in zip(new, states, strict=True))
        return torch.cat(outputs), states

    def _product(self, kind: str, suffix: str, x: Tensor) -> Tensor:
        weight = getattr(self, f"weight_{kind}{suffix}")
        bias = getattr(self, f"bias_{kind}{suffix}") if self.bias and kind != "hr" else None
        return F.linear(x, weight, bias)

    @abstractmethod
    def _cell(self, suffix: str, product: Tensor, states: State) -> State:
        """The states after a step, the output first."""


class PackedLSTM(_PackedRecurrent, nn.LSTM):
    def _state_sizes(self) -> tuple[int, ...]:
        return (self.proj_size or self.hidden_size, self.hidden_size)

    def _cell(self, suffix: str, product: Tensor, states: State) -> State:
        hidden, cell = states
        input, forget, new, output = (product + self._product("hh", suffix, hidden)).chunk(4, -1)
        cell = torch.sigmoid(forget) * cell + torch.sigmoid(input) * torch.tanh(new)
        hidden = torch.sigmoid(output) * torch.tanh(cell)
        return self._product("hr", suffix, hidden) if self.proj_size else hidden, cell


class PackedGRU(_PackedRecurrent, nn.GRU):
    def _cell(self, suffix: str, product: Tensor, states: State) -> State:
        (hidden,) = states
        reset, update, new = product.chunk(3, -1)
        reset_hidden, update_hidden, new_hidden = self._product("hh", suffix, hidden).chunk(3, -1)
        update = torch.sigmoid(update + update_hidden)
        new = torch.tanh(new + torch.sigmoid(reset + reset_hidden) * new_hidden)
        return (new + update * (hidden - new),)


class PackedRNN(_PackedRecurrent, nn.RNN):
    def _cell(self, suffix: str, product: Tensor, states: State) -> State:
        total = product + self._product("hh", suffix, states[0])
        return (torch.tanh(total) if self.nonlinearity == "tanh" else torch.relu(total),)


PACKED_RECURRENT: dict[type[nn.RNNBase], type[_PackedRecurrent]] = {
    nn.LSTM: PackedLSTM,
    nn.GRU: PackedGRU,
    nn.RNN: PackedRNN,
}


def stand_in_recurrent(module: nn.RNNBase) -> None:
    """Changes the class of a module with packed parameters into one that computes from them."""
    forget_flat_weights(module)
    module.__class__ = PACKED_RECURRENT[type(module)]


def forget_flat_weights(module: nn.RNNBase) -> None:
    """Empties the list of dense weights, side by side, that torch's own kernels take."""
    module._flat_weights_names, module._flat_weights, module._flat_weight_refs = [], [], []
