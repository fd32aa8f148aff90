"""Call the OpenGL functions of MuJoCo's render context directly.

PyOpenGL checks for an error after each call, and a frame has a thousand calls.
"""

import ctypes
from typing import Any

from OpenGL import GL as _GL
from OpenGL import platform as _platform

GL: Any = _GL  # constants, which PyOpenGL creates at run time
platform: Any = _platform
_INT, _UINT, _FLOAT, _POINTER = ctypes.c_int, ctypes.c_uint, ctypes.c_float, ctypes.c_void_p
_SIGNATURES: dict[str, tuple[Any, ...]] = {
    "glBindBuffer": (_UINT, _UINT),
    "glBindTexture": (_UINT, _UINT),
    "glActiveTexture": (_UINT,),
    "glBlendFunc": (_UINT, _UINT),
    "glBufferData": (_UINT, ctypes.c_ssize_t, _POINTER, _UINT),
    "glCallList": (_UINT,),
    "glClear": (_UINT,),
    "glClipPlane": (_UINT, _POINTER),
    "glColor4fv": (_POINTER,),
    "glColorMask": (_UINT, _UINT, _UINT, _UINT),
    "glCullFace": (_UINT,),
    "glDeleteBuffers": (_INT, _POINTER),
    "glDepthMask": (_UINT,),
    "glDisable": (_UINT,),
    "glDisableClientState": (_UINT,),
    "glDrawElements": (_UINT, _INT, _UINT, _POINTER),
    "glEnable": (_UINT,),
    "glEnableClientState": (_UINT,),
    "glFrontFace": (_UINT,),
    "glGenBuffers": (_INT, _POINTER),
    "glGetFloatv": (_UINT, _POINTER),
    "glGetIntegerv": (_UINT, _POINTER),
    "glGetMultisamplefv": (_UINT, _UINT, _POINTER),
    "glLightfv": (_UINT, _UINT, _POINTER),
    "glMaterialf": (_UINT, _UINT, _FLOAT),
    "glMaterialfv": (_UINT, _UINT, _POINTER),
    "glMultMatrixf": (_POINTER,),
    "glNormalPointer": (_UINT, _INT, _POINTER),
    "glPopMatrix": (),
    "glPushMatrix": (),
    "glScalef": (_FLOAT, _FLOAT, _FLOAT),
    "glStencilFunc": (_UINT, _INT, _UINT),
    "glStencilOp": (_UINT, _UINT, _UINT),
    "glTexCoordPointer": (_INT, _UINT, _INT, _POINTER),
    "glTexGenfv": (_UINT, _UINT, _POINTER),
    "glTranslatef": (_FLOAT, _FLOAT, _FLOAT),
    "glVertexPointer": (_INT, _UINT, _INT, _POINTER),
}


class Functions:
    """`Functions` provides `gl.glColor4fv(address)` and so on, for the current context and its lifetime."""

    def __init__(self) -> None:
        for name, arguments in _SIGNATURES.items():
            address = platform.PLATFORM.getExtensionProcedure(name.encode())
            setattr(self, name, ctypes.cast(address, ctypes.CFUNCTYPE(None, *arguments)))

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(f"{name} is not in pirig.sim.drawing.opengl's table")
