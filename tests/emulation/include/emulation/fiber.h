// Fibers: one per emulated CUDA thread, switched by hand so that a block of hundreds of threads is cheap.
#pragma once

#include <sys/mman.h>

#include <cstddef>
#include <cstdlib>

#if !defined(__x86_64__) || defined(EMU_UCONTEXT)
#define EMU_USE_UCONTEXT 1
#include <ucontext.h>
#endif
#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#endif

namespace emu {

#if !defined(EMU_USE_UCONTEXT)
// Saves the callee-saved registers and the stack pointer of the running fiber, then restores those of
// another.
extern "C" void emu_switch_stack(void** save, void* load);
asm(R"(
.text
.weak emu_switch_stack
.type emu_switch_stack,@function
emu_switch_stack:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp,(%rdi)
  movq %rsi,%rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
)");
#endif

class Fiber {
 public:
  Fiber() = default;
  Fiber(const Fiber&) = delete;
  Fiber& operator=(const Fiber&) = delete;
  ~Fiber() {
    if (stack_) munmap(stack_, kStackBytes);
  }

  // Makes the fiber start at `entry`, which must never return, when it is next switched to.
  void prepare(void (*entry)()) {
    if (!stack_) {
      void* memory = mmap(nullptr, kStackBytes, PROT_READ | PROT_WRITE,
                          MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
      if (memory == MAP_FAILED) abort();
      stack_ = static_cast<char*>(memory);
    }
#if defined(__SANITIZE_ADDRESS__)
    __asan_unpoison_memory_region(stack_, kStackBytes);  // an abandoned fiber leaves its frames poisoned
#endif
#if defined(EMU_USE_UCONTEXT)
    getcontext(&context_);
    context_.uc_stack.ss_sp = stack_;
    context_.uc_stack.ss_size = kStackBytes;
    context_.uc_link = nullptr;
    makecontext(&context_, entry, 0);
#else
    void** top = reinterpret_cast<void**>(stack_ + kStackBytes - 64);
    *--top = nullptr;
    *--top = reinterpret_cast<void*>(entry);
    for (int i = 0; i < kSavedRegisters; ++i) *--top = nullptr;
    stack_pointer_ = top;
#endif
  }

  static void switch_from_to(Fiber& from, Fiber& to) {
#if defined(EMU_USE_UCONTEXT)
    swapcontext(&from.context_, &to.context_);
#else
    emu_switch_stack(&from.stack_pointer_, to.stack_pointer_);
#endif
  }

 private:
  static constexpr size_t kStackBytes = 128 << 10;
  char* stack_ = nullptr;
#if defined(EMU_USE_UCONTEXT)
  ucontext_t context_;
#else
  static constexpr int kSavedRegisters = 6;
  void* stack_pointer_ = nullptr;
#endif
};

}  // namespace emu
