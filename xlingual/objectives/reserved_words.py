"""Words of programming languages that are no names of a program: keywords and common built-ins.

Lists are written out, because those of an installed interpreter change with its version. Built-in
methods need no entry: they follow a dot.
"""

_C = """
auto break case char const continue default do double else enum extern float for goto if inline int
long register restrict return short signed sizeof static struct switch typedef union unsigned void
volatile while bool true false NULL size_t ssize_t int8_t int16_t int32_t int64_t uint8_t uint16_t
uint32_t uint64_t intptr_t uintptr_t ptrdiff_t FILE stdin stdout stderr EOF errno main argc argv
define undef ifdef ifndef endif elif pragma include error defined printf fprintf sprintf snprintf
scanf fscanf sscanf puts putchar getchar fgets fputs fopen fclose fread fwrite fflush perror malloc
calloc realloc free exit abort abs atoi atof strtol strtod qsort rand srand assert memcpy memmove
memset memcmp strlen strcpy strncpy strcat strncat strcmp strncmp strchr strrchr strstr strdup
strtok isalpha isdigit isspace isupper islower toupper tolower sqrt pow floor ceil fabs sin cos tan
exp log time clock
"""
_JAVASCRIPT = """
abstract arguments async await boolean break case catch class const constructor continue debugger
default delete do else enum eval export extends false finally for from function get if implements
import in instanceof interface let module exports require new null of package private protected
public return set static super switch this throw true try typeof undefined var void while with
yield Array ArrayBuffer BigInt Boolean Buffer Date Error EvalError Function Infinity Int32Array
Intl JSON Map Math NaN Number Object Promise Proxy RangeError ReferenceError Reflect RegExp Set
String Symbol SyntaxError TypeError Uint8Array WeakMap WeakSet clearInterval clearTimeout console
decodeURI decodeURIComponent document encodeURI encodeURIComponent fetch global globalThis isFinite
isNaN localStorage parseFloat parseInt process prototype setInterval setTimeout window
"""

RESERVED_WORDS: dict[str, str] = {
    "python": """
False None True and as assert async await break class continue def del elif else except finally for
from global if import in is lambda nonlocal not or pass raise return try while with yield match
case self cls super print exec abs aiter all anext any ascii basestring bin bool breakpoint
bytearray bytes callable chr classmethod cmp compile complex delattr dict dir divmod enumerate eval
file filter float format frozenset getattr globals hasattr hash help hex id input int isinstance
issubclass iter len list locals long map max memoryview min next object oct open ord pow property
range raw_input reduce repr reversed round set setattr slice sorted staticmethod str sum tuple type
unichr unicode vars xrange zip exit quit ArithmeticError AssertionError AttributeError
BaseException DeprecationWarning EOFError Ellipsis EnvironmentError Exception FileExistsError
FileNotFoundError FloatingPointError GeneratorExit IOError ImportError IndentationError IndexError
IsADirectoryError KeyError KeyboardInterrupt LookupError MemoryError ModuleNotFoundError NameError
NotImplemented NotImplementedError OSError OverflowError PermissionError RecursionError
ReferenceError RuntimeError RuntimeWarning StopAsyncIteration StopIteration SyntaxError SystemError
SystemExit TabError TimeoutError TypeError UnboundLocalError UnicodeDecodeError UnicodeEncodeError
UnicodeError UserWarning ValueError Warning ZeroDivisionError
""",
    "javascript": _JAVASCRIPT,
    "typescript": _JAVASCRIPT
    + """
any as asserts bigint declare infer is keyof namespace never number object readonly satisfies
string symbol type unique unknown Exclude Extract NonNullable Omit Partial Pick Readonly Record
Required ReturnType
""",
    "java": """
abstract assert boolean break byte case catch char class const continue default do double else enum
extends final finally float for goto if implements import instanceof int interface long native new
null package permits private protected public record return sealed short static strictfp super
switch synchronized this throw throws transient true false try var void volatile while yield main
args Override Deprecated SuppressWarnings FunctionalInterface SafeVarargs Test ArithmeticException
ArrayIndexOutOfBoundsException Boolean Byte Character CharSequence Class ClassCastException
ClassNotFoundException Cloneable Comparable Double Enum Error Exception Float
IllegalArgumentException IllegalStateException IndexOutOfBoundsException Integer
InterruptedException Iterable Long Math NullPointerException Number NumberFormatException Object
Runnable Runtime RuntimeException Short StackOverflowError String StringBuffer StringBuilder System
Thread ThreadLocal Throwable UnsupportedOperationException Void ArrayList Arrays Collection
Collections Deque HashMap HashSet Iterator LinkedHashMap LinkedList List Map Optional PriorityQueue
Queue Random Scanner Set Stack TreeMap TreeSet Vector
""",
    "c": _C,
    "cpp": _C
    + """
alignas alignof and and_eq asm bitand bitor catch char8_t char16_t char32_t class co_await
co_return co_yield compl concept const_cast consteval constexpr constinit decltype delete
dynamic_cast explicit export final friend mutable namespace new noexcept not not_eq nullptr
operator or or_eq override private protected public reinterpret_cast requires static_assert
static_cast template this thread_local throw try typeid typename using virtual wchar_t xor xor_eq
std array bitset cerr cin cout deque endl find function getline make_pair make_shared make_unique
map max min move multimap multiset optional ostream istream pair priority_queue queue reverse set
shared_ptr sort stack string stringstream swap to_string tuple unique_ptr unordered_map
unordered_set vector
""",
    "csharp": """
abstract as async await base bool break byte case catch char checked class const continue decimal
default delegate do double dynamic else enum event explicit extern false finally fixed float for
foreach get global goto if implicit in init int interface internal is lock long namespace nameof
new null object operator out override params partial private protected public readonly record ref
return sbyte sealed set short sizeof stackalloc static string struct switch this throw true try
typeof uint ulong unchecked unsafe ushort using value var virtual void volatile when where while
yield Main args Action Array ArgumentException ArgumentNullException Boolean Char Console Convert
DateTime Dictionary Double Enumerable Environment Exception Func Guid HashSet IComparable
IDisposable IEnumerable IEnumerator IList Int32 Int64 InvalidOperationException List Math
NotImplementedException Object Queue Random Stack String StringBuilder Task Tuple Type
""",
    "go": """
break case chan const continue default defer else fallthrough for func go goto if import interface
map package range return select struct switch type var any append bool byte cap clear close
comparable complex complex64 complex128 copy delete error false float32 float64 imag init int int8
int16 int32 int64 iota len main make max min new nil panic print println real recover rune string
true uint uint8 uint16 uint32 uint64 uintptr
""",
}
"""Programming language -> its reserved words."""
