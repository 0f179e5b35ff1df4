from regcore import _core
