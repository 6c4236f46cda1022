// Prints what instructions a build of llama.cpp uses.
#include <cstdio>

#include "llama.h"

int main() { std::puts(llama_print_system_info()); }
