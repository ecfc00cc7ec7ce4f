"""What of a graph TensorFlow would compute on the CPU though there is a GPU."""

from typing import Any

from tensorflow.python.framework import kernels


def computed_on_the_host(graph: Any, rank: int) -> list[str]:
    """Return ops whose results have at least `rank` dimensions and never leave host memory.

    TensorFlow's kernels of int32 "for a GPU" mostly are the CPU's: shapes are of that type.
    """
    return [
        f"{op.type}: {op.name}"
        for op in graph.get_operations()
        if op.outputs and (op.outputs[0].shape.rank or 0) >= rank and _is_the_hosts(op)
    ]


def _is_the_hosts(op: Any) -> bool:
    result = op.op_def.output_arg[0].name
    return any(
        result in kernel.host_memory_arg
        for kernel in kernels.get_registered_kernels_for_op(op.type).kernel
        if kernel.device_type == "GPU"
        and all(
            op.get_attr(each.name).as_datatype_enum in each.allowed_values.list.type
            for each in kernel.constraint
        )
    )
