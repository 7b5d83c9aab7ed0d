import tseslint from 'typescript-eslint';

/** Who may import whom: api → client → (Temporal) → workflows → activities → adapters, db; everything may import domain. */
const restrict = (files, patterns) => ({ files, rules: { 'no-restricted-imports': ['error', { patterns }] } });
const SANDBOX = { regex: '/(sandbox|test|scripts|bench)/', message: 'The product reaches the sandbox by its addresses only.' };
const CLIENT = { regex: '^@temporalio/client$', allowTypeImports: true, message: "Only src/client talks to Temporal's client." };

export default tseslint.config(
  { ignores: ['dist/', 'node_modules/', '.cache/', '.aftercall/', '**/*.cjs', '**/*.mjs'] },
  ...tseslint.configs.recommendedTypeChecked,
  {
    languageOptions: { parserOptions: { project: './tsconfig.json', tsconfigRootDir: import.meta.dirname } },
    rules: {
      '@typescript-eslint/no-floating-promises': 'error',
      '@typescript-eslint/no-misused-promises': ['error', { checksVoidReturn: { arguments: false } }],
      '@typescript-eslint/no-unused-vars': ['error', { argsIgnorePattern: '^_', varsIgnorePattern: '^_' }],
      '@typescript-eslint/consistent-type-imports': 'error',
      '@typescript-eslint/switch-exhaustiveness-check': ['error', { considerDefaultExhaustiveForUnions: true }],
      '@typescript-eslint/require-await': 'off',
      '@typescript-eslint/prefer-promise-reject-errors': ['error', { allowThrowingUnknown: true }],
      '@typescript-eslint/only-throw-error': ['error', { allowThrowingUnknown: true }],
      '@typescript-eslint/unbound-method': 'off',
      '@typescript-eslint/no-base-to-string': 'off',
      '@typescript-eslint/restrict-template-expressions': 'off',
      'no-console': 'error',
    },
  },
  restrict(['src/**'], [SANDBOX, CLIENT]),
  restrict(['src/client/**', 'src/api/start.ts'], [SANDBOX]),
  restrict(['src/domain/**'], [SANDBOX, { regex: '^(?!\\./)', message: 'The domain imports nothing but the domain.' }]),
  restrict(['src/domain/rubrics/**', 'src/domain/analytics/**'], [SANDBOX, { regex: '^(?!\\./|\\.\\./[a-z-]+\\.ts$)', message: 'The domain imports nothing but the domain.' }]),
  restrict(['src/workflows/**'], [SANDBOX, { regex: '^(?!\\./|\\.\\./domain/|@temporalio/(workflow|common)$)', message: 'Workflows import the domain and the SDK only: what they bundle runs in a sandbox.' }]),
  restrict(['src/adapters/**', 'src/db/**'], [SANDBOX, CLIENT, { regex: '/(activities|workflows|client|api)/', message: 'Adapters and repositories know nothing of who uses them.' }]),
  restrict(['src/activities/**'], [SANDBOX, CLIENT, { regex: '/(workflows|api)/', message: 'Activities know neither the workflows nor the API.' }]),
);
