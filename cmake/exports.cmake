# Reads the functions that gyre.h declares and writes them in three forms: OUTPUT.names, one a line, for objcopy;
# OUTPUT.ld-options, which demand that each is defined and keep what it uses; OUTPUT.map, the library's version script.
#
# usage: cmake -DCOMPILER=cc -DHEADER=gyre.h -DOUTPUT=prefix -DVERSION_NODE=GYRE_0.1 -P exports.cmake

# Preprocessed, so that names in comments and in macros do not count.
execute_process(COMMAND "${COMPILER}" -E -P -x c "${HEADER}" OUTPUT_VARIABLE text COMMAND_ERROR_IS_FATAL ANY)
string(REGEX MATCHALL "gyre_[a-z0-9_]+ *[(]" names "${text}")
list(TRANSFORM names REPLACE " *[(]" "")
list(SORT names)
list(REMOVE_DUPLICATES names)
if(NOT names)
  message(FATAL_ERROR "${HEADER} declares no function")
endif()

list(TRANSFORM names APPEND "\n" OUTPUT_VARIABLE lines)
list(JOIN lines "" lines)
file(WRITE "${OUTPUT}.names" "${lines}")

list(TRANSFORM names REPLACE "(.+)" "--require-defined=\\1\n" OUTPUT_VARIABLE options)
list(JOIN options "" options)
file(WRITE "${OUTPUT}.ld-options" "${options}")

list(JOIN names ";\n    " globals)
file(WRITE "${OUTPUT}.map" "${VERSION_NODE} {\n  global:\n    ${globals};\n  local:\n    *;\n};\n")
